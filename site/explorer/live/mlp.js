// Listing 1.3.2 learns 4,000 digits.
import { generator } from "../random.js";
import { Digits, PIXELS } from "./digits.js";
import { Steps } from "./steps.js";

const CONFUSED = 16;

export class Task {
  chunk = 10;

  static async open(about) {
    const task = new Task();
    [task.steps, task.digits] = await Promise.all([Steps.open("mlp", about), Digits.open()]);
    return task;
  }

  async restart(seed) {
    const random = generator(seed);
    this.steps.reset(random);
    this.digits.reset(random);
    this.count = 0;
    this.history = { loss: [], accuracy: [] };
    this.losses = [];
    return { ...(await this.test()), count: 0, epoch: 0, history: this.history };
  }

  async advance(most, { learningRate, batchSize, shift }) {
    const steps = Math.min(most, Math.max(1, this.digits.remaining(batchSize)));
    const data = this.digits.next(steps, batchSize, shift);
    const { loss } = await this.steps.run(steps, batchSize, { learning_rate: learningRate }, data);
    this.losses.push(...loss);
    this.count += steps;
    const report = { count: this.count, loss: loss.at(-1) };
    if (this.digits.turn(batchSize)) Object.assign(report, await this.endEpoch());
    return { ...report, epoch: this.digits.epoch };
  }

  async endEpoch() {
    const found = await this.test();
    this.history.loss.push(this.losses.reduce((a, b) => a + b, 0) / this.losses.length);
    this.history.accuracy.push(found.accuracy);
    this.losses = [];
    return { ...found, history: this.history };
  }

  /** Classifies the test digits, and the digit of the reader. */
  async test() {
    const { testLabels, test } = this.digits;
    const { output } = await this.steps.call("classify", test, PIXELS);
    const rows = Array.from(testLabels, (label, i) => {
      const row = output.subarray(10 * i, 10 * i + 10);
      const predicted = row.indexOf(Math.max(...row));
      return { i, label, predicted, probability: row[label] };
    });
    const right = rows.filter(({ label, predicted }) => label === predicted).length;
    const confused = rows.sort((a, b) => a.probability - b.probability).slice(0, CONFUSED);
    for (const each of confused) {
      each.image = test.slice(each.i * PIXELS, (each.i + 1) * PIXELS);
    }
    return { accuracy: right / testLabels.length, confused, ...(await this.ask(this.digit)) };
  }

  /** The probabilities of the reader's digit. */
  async ask(digit) {
    this.digit = digit;
    if (!digit) return { drawn: null };
    return { drawn: (await this.steps.call("classify", digit, PIXELS)).output };
  }

  weights() {
    return this.steps.weights();
  }
}
