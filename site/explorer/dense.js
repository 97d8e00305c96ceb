// Dense layers in plain JavaScript, for single states: a call of the runtime would take longer.

/**
 * Applies Dense layers, with ReLU after all but the last.
 * @param {Float32Array[]} arrays kernels (inputs, units) and biases in turn
 * @param {ArrayLike<number>} input one state
 */
export function dense(arrays, input) {
  let x = input;
  for (let layer = 0; layer < arrays.length; layer += 2) {
    const [kernel, bias] = [arrays[layer], arrays[layer + 1]];
    const units = bias.length;
    const y = Float32Array.from(bias);
    for (let i = 0; i < x.length; i++) {
      const value = x[i];
      if (value === 0) continue;
      const row = i * units;
      for (let j = 0; j < units; j++) y[j] += value * kernel[row + j];
    }
    if (layer + 2 < arrays.length) {
      for (let j = 0; j < units; j++) if (y[j] < 0) y[j] = 0;
    }
    x = y;
  }
  return x;
}
