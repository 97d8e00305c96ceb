// Listing 9.6.1 learns to keep the pole upright.
import { GOAL, LIMIT, MOST_ANGLE, reset, step } from "../cartpole.js";
import { dense } from "../dense.js";
import { generator } from "../random.js";
import { Steps } from "./steps.js";

const EPSILON = 0.9;
const EPSILON_MIN = 0.01;
const EPSILON_EPISODES = 60;
const REPLAYS = 100; // batches after an episode
const IN_A_ROW = 50; // batches with one target network
export const MAP = [24, 18]; // states in the picture of the values: angles and their speeds
export const MOST_TURNING = 2;

/** The transitions of all episodes. */
class Memory {
  constructor() {
    this.size = 0;
    this.rows = new Float32Array(11 * 1024); // state, action, reward, next state, ended
  }

  remember(state, action, reward, next, ended) {
    if (11 * this.size === this.rows.length) {
      const larger = new Float32Array(2 * this.rows.length);
      larger.set(this.rows);
      this.rows = larger;
    }
    this.rows.set([...state, action, reward, ...next, ended], 11 * this.size++);
  }

  /** Batches drawn without repetition, as the data of a training step. */
  sample(batches, batchSize, random) {
    const count = batches * batchSize;
    const data = {
      states: new Float32Array(4 * count),
      actions: new Int32Array(count),
      rewards: new Float32Array(count),
      next_states: new Float32Array(4 * count),
      ended: new Float32Array(count),
    };
    for (let batch = 0; batch < batches; batch++) {
      const drawn = new Set();
      while (drawn.size < batchSize) drawn.add(Math.floor(random() * this.size));
      let i = batch * batchSize;
      for (const row of drawn) {
        const at = 11 * row;
        data.states.set(this.rows.subarray(at, at + 4), 4 * i);
        data.actions[i] = this.rows[at + 4];
        data.rewards[i] = this.rows[at + 5];
        data.next_states.set(this.rows.subarray(at + 6, at + 10), 4 * i);
        data.ended[i] = this.rows[at + 10];
        i += 1;
      }
    }
    return data;
  }
}

export class Task {
  chunk = 1;

  static async open(about) {
    const task = new Task();
    task.steps = await Steps.open("dqn", about);
    return task;
  }

  restart(seed) {
    this.random = generator(seed);
    this.steps.reset(this.random);
    this.updateTarget();
    this.memory = new Memory();
    this.history = { reward: [], mean: [] };
    this.updates = 0;
    return { count: 0, updates: 0, epsilon: EPSILON, history: this.history, ...this.values() };
  }

  /** Copies the Q-network into the target network. */
  updateTarget() {
    const { weights, state } = this.steps.about;
    for (let i = 0; i < weights; i++) {
      this.steps.put(state[weights + i].name, this.steps.state[state[i].name].data.slice());
    }
  }

  /** The share of random actions falls by the same factor in each episode. */
  epsilon() {
    const passed = Math.min(1, this.history.reward.length / EPSILON_EPISODES);
    return EPSILON * (EPSILON_MIN / EPSILON) ** passed;
  }

  /** Plays one episode; returns its states. */
  play(epsilon) {
    const weights = this.steps.weights();
    let pole = reset(this.random);
    const path = [pole.state];
    while (!pole.fell && pole.steps < LIMIT) {
      let action = Math.floor(2 * this.random());
      if (this.random() >= epsilon) {
        const [left, right] = dense(weights, Float32Array.from(pole.state));
        action = Number(right > left);
      }
      const next = step(pole, action);
      this.memory.remember(pole.state, action, 1, next.state, next.fell ? 1 : 0);
      path.push(next.state);
      pole = next;
    }
    return path;
  }

  /** One episode, and what is learned after it. */
  async advance(_, { learningRate, batchSize, gamma }) {
    const epsilon = this.epsilon();
    const path = this.play(epsilon);
    const reward = path.length - 1;
    let loss = null;
    if (reward < GOAL && this.memory.size >= batchSize) {
      for (let done = 0; done < REPLAYS; done += IN_A_ROW) {
        const data = this.memory.sample(IN_A_ROW, batchSize, this.random);
        const fed = { learning_rate: learningRate, gamma };
        const found = await this.steps.run(IN_A_ROW, batchSize, fed, data);
        loss = found.loss.at(-1);
        this.updates += IN_A_ROW;
        this.updateTarget();
      }
    }
    const { history } = this;
    history.reward.push(reward);
    const last = history.reward.slice(-100);
    history.mean.push(last.reduce((a, b) => a + b, 0) / last.length);
    const count = history.reward.length;
    const solved = count >= 100 && history.mean.at(-1) >= GOAL;
    const report = { count, updates: this.updates, epsilon, loss, path, history, done: solved };
    return count % 5 === 0 || solved ? { ...report, ...this.values() } : report;
  }

  /** Q(s, .) over angle and its speed, in the middle and at rest: (rows, columns, 2). */
  values() {
    const [columns, rows] = MAP;
    const weights = this.steps.weights();
    const values = new Float32Array(2 * columns * rows);
    for (let i = 0; i < columns * rows; i++) {
      const angle = MOST_ANGLE * ((2 * ((i % columns) + 0.5)) / columns - 1);
      const turning = MOST_TURNING * (1 - (2 * (Math.floor(i / columns) + 0.5)) / rows);
      values.set(dense(weights, [0, 0, angle, turning]), 2 * i);
    }
    return { values };
  }

  weights() {
    return this.steps.weights();
  }
}
