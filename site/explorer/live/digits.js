// The 5,000 real digits of the repository, in batches.
import { unpacked } from "../files.js";
import { permutation } from "../random.js";

const TRAIN = 4000;
const TEST = 1000;
const SIDE = 28;
export const PIXELS = SIDE * SIDE;

export class Digits {
  static async open() {
    const digits = new Digits();
    const bytes = await unpacked("training/digits.bin");
    const ends = [TRAIN * PIXELS, (TRAIN + TEST) * PIXELS, (TRAIN + TEST) * PIXELS + TRAIN];
    digits.train = bytes.subarray(0, ends[0]);
    digits.test = Float32Array.from(bytes.subarray(ends[0], ends[1]), (value) => value / 255);
    digits.labels = bytes.subarray(ends[1], ends[2]);
    digits.testLabels = bytes.subarray(ends[2]);
    return digits;
  }

  reset(random) {
    this.random = random;
    this.epoch = 0;
    this.shuffle();
  }

  shuffle() {
    this.order = permutation(this.random, TRAIN);
    this.at = 0;
  }

  /** How many batches of a size remain in this epoch. */
  remaining(batchSize) {
    return Math.floor((TRAIN - this.at) / batchSize);
  }

  /**
   * The next batches, each image shifted at random by up to `shift` pixels.
   * @returns {{images: Float32Array, labels: Int32Array}}
   */
  next(batches, batchSize, shift = 0) {
    const rows = batches * batchSize;
    const images = new Float32Array(rows * PIXELS);
    const labels = new Int32Array(rows);
    const draw = () => Math.round(shift * (2 * this.random() - 1));
    for (let row = 0; row < rows; row++) {
      const index = this.order[this.at++];
      labels[row] = this.labels[index];
      const [dx, dy] = shift ? [draw(), draw()] : [0, 0];
      for (let y = Math.max(0, dy); y < Math.min(SIDE, SIDE + dy); y++) {
        const from = index * PIXELS + (y - dy) * SIDE - dx;
        const to = row * PIXELS + y * SIDE;
        for (let x = Math.max(0, dx); x < Math.min(SIDE, SIDE + dx); x++) {
          images[to + x] = this.train[from + x] / 255;
        }
      }
    }
    return { images, labels };
  }

  /** Starts the next epoch if this one has no whole batch left; returns whether it did. */
  turn(batchSize) {
    if (this.remaining(batchSize) > 0) return false;
    this.epoch += 1;
    this.shuffle();
    return true;
  }
}
