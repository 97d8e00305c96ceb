// Listing 8.1.1 learns 4,000 digits.
import { gauss, generator } from "../random.js";
import { Digits, PIXELS } from "./digits.js";
import { Steps } from "./steps.js";

const SHOWN = 500; // test digits in the plane
export const GRID = 13; // decoded digits in each direction
const EXTENT = 4; // codes from -4 to 4, or more while the codes lie farther out
const INSIDE = 0.97; // of the codes
const EPSILON = 1e-7; // as in lib/vae.py

/** Reconstruction and divergence of images in nats, the mean over all. */
export function parts(images, decoded, mean, logVar) {
  const count = images.length / PIXELS;
  let [reconstruction, kl] = [0, 0];
  for (let i = 0; i < images.length; i++) {
    const p = Math.min(Math.max(decoded[i], EPSILON), 1 - EPSILON);
    reconstruction -= images[i] * Math.log(p) + (1 - images[i]) * Math.log(1 - p);
  }
  for (let i = 0; i < mean.length; i++) {
    kl += (Math.exp(logVar[i]) + mean[i] ** 2 - 1 - logVar[i]) / 2;
  }
  return { reconstruction: reconstruction / count, kl: kl / count };
}

/** The codes of a grid over the plane, from -extent to extent. */
function plane(extent) {
  const codes = new Float32Array(2 * GRID * GRID);
  const place = (index) => (2 * extent * (index + 0.5)) / GRID - extent;
  for (let i = 0; i < GRID * GRID; i++) {
    codes[2 * i] = place(i % GRID);
    codes[2 * i + 1] = -place(Math.floor(i / GRID));
  }
  return codes;
}

export class Task {
  chunk = 10;

  static async open(about) {
    const task = new Task();
    [task.steps, task.digits] = await Promise.all([Steps.open("vae", about), Digits.open()]);
    return task;
  }

  async restart(seed) {
    this.random = generator(seed);
    this.steps.reset(this.random);
    this.digits.reset(this.random);
    this.count = 0;
    this.history = { reconstruction: [], kl: [] };
    return { ...(await this.test()), count: 0, epoch: 0, history: this.history };
  }

  async advance(most, { learningRate, batchSize, beta }) {
    const steps = Math.min(most, Math.max(1, this.digits.remaining(batchSize)));
    const { images } = this.digits.next(steps, batchSize);
    const fed = { learning_rate: learningRate, beta };
    const { loss } = await this.steps.run(steps, batchSize, fed, { images, targets: images });
    this.count += steps;
    const report = { count: this.count, loss: loss.at(-1) };
    if (this.digits.turn(batchSize)) {
      const found = await this.test();
      this.history.reconstruction.push(found.reconstruction);
      this.history.kl.push(found.kl);
      Object.assign(report, found, { history: this.history });
    }
    return { ...report, epoch: this.digits.epoch };
  }

  /** Encodes test digits, reconstructs them from samples of their codes, decodes the plane. */
  async test() {
    const images = this.digits.test.subarray(0, SHOWN * PIXELS);
    const { mean, log_var: logVar } = await this.steps.call("encode", images, PIXELS);
    const codes = mean.map((value, i) => value + Math.exp(logVar[i] / 2) * gauss(this.random));
    const { output } = await this.steps.call("decode", codes, 2);
    const extent = Math.max(EXTENT, mean.map(Math.abs).sort()[Math.floor(INSIDE * mean.length)]);
    const atlas = (await this.steps.call("decode", plane(extent), 2)).output;
    const labels = this.digits.testLabels.slice(0, SHOWN);
    return { ...parts(images, output, mean, logVar), codes: mean, labels, atlas, extent };
  }

  weights() {
    return this.steps.weights();
  }
}
