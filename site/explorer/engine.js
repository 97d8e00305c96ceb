// The page's side of the networks: run(model, inputs) -> outputs and milliseconds.

let worker = null;
let calls = 0;
const waiting = new Map();
const used = new Set();

/** The latest inputs, outputs and milliseconds of each network that the page has run. */
export const last = {};

function start() {
  worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
  worker.onmessage = ({ data }) => {
    const { resolve, reject } = waiting.get(data.id);
    waiting.delete(data.id);
    if (data.error) reject(new Error(data.error));
    else resolve(data);
  };
  worker.onerror = (event) => {
    const error = new Error(event.message || "the worker did not start");
    for (const { reject } of waiting.values()) reject(error);
    waiting.clear();
  };
}

function send(message) {
  if (!worker) start();
  const id = calls++;
  return new Promise((resolve, reject) => {
    waiting.set(id, { resolve, reject });
    worker.postMessage({ id, ...message });
  });
}

/** Whether the network has been run, so that it is in memory. */
export function loaded(model) {
  return used.has(model);
}

/**
 * Runs a network.
 * @param {string} model name of the file in models/, without .onnx
 * @param {Object} inputs {name: {data: Float32Array, dims: number[]}}
 * @returns {Promise<{outputs: Object, ms: number}>} outputs {name: {data, dims}}
 */
export function run(model, inputs) {
  return send({ model, inputs }).then(({ outputs, ms }) => {
    used.add(model);
    last[model] = { inputs, outputs, ms };
    return { outputs, ms };
  });
}

/** Takes another network instead of one; rejects a file with other inputs or outputs. */
export function replace(model, bytes) {
  return send({ model, bytes });
}

/** A tensor of the shape (rows, ...shape). */
export function tensor(data, ...shape) {
  const size = shape.reduce((a, b) => a * b, 1);
  return { data, dims: [data.length / size, ...shape] };
}

/**
 * Wraps an asynchronous function so that it runs once at a time. While it runs, only the newest
 * call waits: a moving slider skips what it has left behind.
 */
export function latest(task) {
  let running = null;
  let pending = null;
  async function drain() {
    while (pending) {
      const args = pending;
      pending = null;
      await task(...args);
    }
  }
  return (...args) => {
    pending = args;
    running ??= drain().finally(() => {
      running = null;
    });
    return running;
  };
}
