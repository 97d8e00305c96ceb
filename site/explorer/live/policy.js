// Listing 10.1.1 learns to drive the car up the hill.
import { unpacked } from "../files.js";
import { HIGH, LOW, MAX_SPEED } from "../mountaincar.js";
import { dense } from "../dense.js";
import { FEATURES, PolicyAgent, runEpisode } from "../policygradient.js";
import { generator } from "../random.js";

export const EPISODES = 1000;
export const MAP = [36, 27]; // states in the picture of the policy: positions and velocities
const MILLISECONDS = 60; // of training between two reports

export class Task {
  chunk = 20;

  static async open(about) {
    const task = new Task();
    const bytes = await unpacked("training/policy-encoder.bin");
    const numbers = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
    let at = 0;
    task.encoder = about.encoder.map((shape) => {
      const start = at;
      at += shape.reduce((a, b) => a * b, 1);
      return numbers.subarray(start, at);
    });
    task.settings = about.settings;
    const [columns, rows] = MAP;
    task.states = Array.from({ length: columns * rows }, (_, i) =>
      dense(task.encoder, [
        LOW + ((HIGH - LOW) * ((i % columns) + 0.5)) / columns,
        MAX_SPEED * (1 - (2 * (Math.floor(i / columns) + 0.5)) / rows),
      ]),
    );
    return task;
  }

  restart(seed, { method, learningRate, correlation }) {
    this.random = generator(seed);
    const settings = { ...this.settings[method], learning_rate: learningRate, correlation };
    this.agent = new PolicyAgent(method, settings);
    this.history = { reward: [], mean: [] };
    this.flags = 0;
    return { count: 0, flags: 0, history: this.history, ...this.policy() };
  }

  /** Some episodes, as many as the time allows. */
  async advance(most, { learningRate, correlation }) {
    Object.assign(this.agent.settings, { learning_rate: learningRate, correlation });
    const started = performance.now();
    let episode;
    for (let i = 0; i < most && performance.now() - started < MILLISECONDS; i++) {
      if (this.history.reward.length >= EPISODES) break;
      episode = runEpisode(this.agent, this.encoder, this.random, this.random);
      this.agent.learn(episode, 1 - this.history.reward.length / EPISODES);
      this.flags += episode.flag;
      this.history.reward.push(episode.reward);
      const last = this.history.reward.slice(-100);
      this.history.mean.push(last.reduce((a, b) => a + b, 0) / last.length);
    }
    const count = this.history.reward.length;
    const report = { count, flags: this.flags, history: this.history, done: count >= EPISODES };
    return { ...report, path: episode?.path, ...this.policy() };
  }

  /** The mean force in each state of the picture. */
  policy() {
    return { forces: Float32Array.from(this.states, (each) => this.agent.policy(each)[0]) };
  }

  /** The weights of the actor in the order of Keras: kernel and bias of mean and deviation. */
  weights() {
    return [this.agent.mean, this.agent.std].flatMap((unit) => [
      Float32Array.from(unit.subarray(0, FEATURES)),
      Float32Array.from(unit.subarray(FEATURES)),
    ]);
  }
}
