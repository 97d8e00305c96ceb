// A training step that the build has exported from a script, and the state that it changes.
import { normal, uniform } from "../random.js";
import { Tensor, open } from "../runtime.js";

const count = (shape) => shape.reduce((a, b) => a * b, 1);

export class Steps {
  /**
   * @param {string} name of the experiment
   * @param {Object} about what the manifest says about it
   */
  static async open(name, about) {
    const steps = new Steps();
    steps.about = about;
    steps.session = await open(`training/${name}-step.onnx`);
    steps.functions = {};
    for (const each of Object.keys(about.functions)) {
      steps.functions[each] = await open(`training/${name}-${each}.onnx`);
    }
    return steps;
  }

  /** Draws new weights, as Keras does: uniform kernels (Glorot), biases of 0; clears the rest. */
  reset(random) {
    this.random = random;
    this.state = {};
    this.about.state.forEach(({ name, shape, integer }, i) => {
      const size = count(shape);
      let data = integer ? new BigInt64Array(size) : new Float32Array(size);
      if (i < this.about.weights && shape.length === 2) {
        const limit = Math.sqrt(6 / (shape[0] + shape[1]));
        data = uniform(random, size, -limit, limit);
      }
      this.put(name, data);
    });
  }

  /** Sets one variable. */
  put(name, data) {
    const { shape } = this.about.state.find((each) => each.name === name);
    this.state[name] = new Tensor(data instanceof BigInt64Array ? "int64" : "float32", data, shape);
  }

  /** The weights of the network that the script loads, as arrays. */
  weights() {
    return this.about.state.slice(0, this.about.weights).map(({ name }) => this.state[name].data);
  }

  /**
   * Makes one step for each batch of the data.
   * @param {number} steps how many
   * @param {number} batchSize
   * @param {Object} fed {name: number, or one number for each step}
   * @param {Object} data {name: typed array of all batches}
   * @param {Object} draws {name: random numbers}; by default they are drawn here
   * @returns {Promise<Object>} {name of a result: one number for each step}
   */
  async run(steps, batchSize, fed, data, draws = {}) {
    const inputs = { ...this.state };
    for (const name of this.about.fed) {
      const value = fed[name];
      const values = typeof value === "number" ? new Float32Array(steps).fill(value) : value;
      inputs[name] = new Tensor("float32", values, [steps]);
    }
    for (const [name, shape] of Object.entries(this.about.data)) {
      const type = data[name] instanceof Int32Array ? "int32" : "float32";
      inputs[name] = new Tensor(type, data[name], [steps, batchSize, ...shape]);
    }
    for (const [name, { kind, shape }] of Object.entries(this.about.draws)) {
      const size = steps * batchSize * count(shape);
      const draw = () =>
        kind === "normal" ? normal(this.random, size) : uniform(this.random, size, 0, 1);
      inputs[name] = new Tensor("float32", draws[name] ?? draw(), [steps, batchSize, ...shape]);
    }
    const results = await this.session.run(inputs);
    const found = {};
    for (const [name, tensor] of Object.entries(results)) {
      if (name.endsWith("_next")) this.state[name.slice(0, -"_next".length)] = tensor;
      else found[name] = tensor.data;
    }
    return found;
  }

  /** Calls a function of the network on rows of `width` numbers; returns its arrays. */
  async call(name, rows, width) {
    const { state, data } = this.about.functions[name];
    const inputs = { [data[0]]: new Tensor("float32", rows, [rows.length / width, width]) };
    for (const each of state) inputs[each] = this.state[each];
    const results = await this.functions[name].run(inputs);
    return Object.fromEntries(Object.entries(results).map(([key, { data }]) => [key, data]));
  }
}
