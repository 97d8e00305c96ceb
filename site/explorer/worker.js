// Runs the exported networks, off the page's own thread.
import { Tensor, create, open } from "./runtime.js";

const sessions = new Map();

function session(model) {
  if (!sessions.has(model)) {
    const opened = open(`models/${model}.onnx`);
    opened.catch(() => sessions.delete(model)); // the next call tries again
    sessions.set(model, opened);
  }
  return sessions.get(model);
}

const describe = (all) =>
  all.map(({ name, shape }) => `${name} (${["batch", ...(shape ?? []).slice(1)].join(", ")})`).join(", ");

/** Takes another network instead of one, if its inputs and outputs are the same. */
async function replace({ id, model, bytes }) {
  try {
    let own;
    try {
      own = await create(new Uint8Array(bytes));
    } catch {
      throw new Error("it is not an ONNX file that this page can open");
    }
    const built = await session(model);
    for (const side of ["inputMetadata", "outputMetadata"]) {
      const [expected, found] = [describe(built[side]), describe(own[side])];
      if (expected !== found) {
        const what = side === "inputMetadata" ? "inputs" : "outputs";
        throw new Error(`${model} has the ${what} ${expected}, this file has ${found}`);
      }
    }
    sessions.set(model, Promise.resolve(own));
    postMessage({ id });
  } catch (error) {
    postMessage({ id, error: String(error.message ?? error) });
  }
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
  queue = queue.then(() => (data.bytes ? replace(data) : answer(data)));
};
