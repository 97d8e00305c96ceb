// The worker in which one network learns. The page sends: open, play, pause, step, set, restart,
// ask, weights. The worker answers with reports.
const TASKS = {
  mlp: () => import("./live/mlp.js"),
  vae: () => import("./live/vae.js"),
  dqn: () => import("./live/dqn.js"),
  policy: () => import("./live/policy.js"),
};

let task = null;
let settings = {};
let delay = 0; // milliseconds between two steps, or 0 for as many steps as the computer makes
let playing = false;
let waiting = false;

const report = (kind, contents) => postMessage({ kind, ...contents });

async function advance(most) {
  const started = performance.now();
  const found = await task.advance(most, settings);
  report("progress", { ...found, ms: performance.now() - started });
  return found;
}

function play() {
  if (!playing || waiting) return;
  waiting = true;
  // Messages arrive between two timers.
  setTimeout(() => {
    enqueue(async () => {
      waiting = false;
      if (!playing) return;
      const { done } = await advance(delay ? 1 : task.chunk);
      if (done) playing = false;
      else play();
    });
  }, delay);
}

const answers = {
  async open({ name, about, seed, ...given }) {
    settings = given.settings;
    const { Task } = await TASKS[name]();
    task = await Task.open(about);
    report("opened", await task.restart(seed, settings));
  },
  play() {
    playing = true;
    play();
  },
  pause() {
    playing = false;
  },
  async step() {
    playing = false;
    await advance(1);
  },
  set(given) {
    settings = given.settings;
    delay = given.delay;
  },
  async restart({ seed }) {
    report("restarted", await task.restart(seed, settings));
  },
  async ask({ digit }) {
    report("asked", await task.ask(digit));
  },
  weights() {
    report("weights", { arrays: task.weights() });
  },
};

// One thing at a time: a step is not interrupted.
let queue = Promise.resolve();
function enqueue(work) {
  queue = queue.then(work).catch((error) => {
    playing = false;
    report("failed", { message: String(error.message ?? error) });
  });
}
onmessage = ({ data }) => enqueue(() => answers[data.type](data));
