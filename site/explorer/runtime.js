// ONNX Runtime Web, for the workers.
// One WebAssembly thread: static hosts do not send the headers that more threads need.
import * as ort from "./ort/ort.wasm.min.mjs";
import { unpacked } from "./files.js";

ort.env.wasm.numThreads = 1;
ort.env.wasm.wasmPaths = new URL("./ort/", import.meta.url).href;
ort.env.logLevel = "error";

export const { Tensor } = ort;

let binary = null;

/** Opens an exported network or training step of the build. */
export function open(path) {
  return create(unpacked(path));
}

/** Opens an ONNX file, given as its bytes or a promise of them. */
export async function create(contents) {
  binary ??= unpacked("ort/ort-wasm-simd-threaded.wasm").catch((error) => {
    binary = null; // the next call tries again
    throw error;
  });
  const [bytes, wasm] = await Promise.all([contents, binary]);
  ort.env.wasm.wasmBinary = wasm;
  return ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] });
}
