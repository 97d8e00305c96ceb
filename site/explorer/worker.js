// Runs the exported networks, off the page's own thread.
import { Tensor, open } from "./runtime.js";

const sessions = new Map();

function session(model) {
  if (!sessions.has(model)) {
    const opened = open(`models/${model}.onnx`);
    opened.catch(() => sessions.delete(model)); // the next call tries again
    sessions.set(model, opened);
  }
  return sessions.get(model);
}

async function answer({ id, model, inputs }) {
  try {
    const network = await session(model);
    const feeds = {};
    for (const [name, { data, dims }] of Object.entries(inputs)) {
      feeds[name] = new Tensor("float32", data, dims);
    }
    const started = performance.now();
    const results = await network.run(feeds);
    const ms = performance.now() - started;
    const outputs = {};
    for (const [name, { data, dims }] of Object.entries(results)) {
      outputs[name] = { data, dims };
    }
    postMessage({ id, outputs, ms });
  } catch (error) {
    postMessage({ id, error: String(error.message ?? error) });
  }
}

// One call at a time: the runtime has one thread.
let queue = Promise.resolve();
onmessage = ({ data }) => {
  queue = queue.then(() => answer(data));
};
