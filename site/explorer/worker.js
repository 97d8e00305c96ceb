// Runs the exported networks with ONNX Runtime Web, off the page's own thread.
// One WebAssembly thread: static hosts do not send the headers that more threads need.
import * as ort from "./ort/ort.wasm.min.mjs";

ort.env.wasm.numThreads = 1;
ort.env.wasm.wasmPaths = new URL("./ort/", import.meta.url).href;
ort.env.logLevel = "error";

const sessions = new Map();

function open(model) {
  if (!sessions.has(model)) {
    const url = new URL(`./models/${model}.onnx`, import.meta.url).href;
    const session = ort.InferenceSession.create(url, { executionProviders: ["wasm"] });
    session.catch(() => sessions.delete(model)); // the next call tries again
    sessions.set(model, session);
  }
  return sessions.get(model);
}

async function answer({ id, model, inputs }) {
  try {
    const session = await open(model);
    const feeds = {};
    for (const [name, { data, dims }] of Object.entries(inputs)) {
      feeds[name] = new ort.Tensor("float32", data, dims);
    }
    const started = performance.now();
    const results = await session.run(feeds);
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
