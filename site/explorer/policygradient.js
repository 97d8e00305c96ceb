// The policy gradients of listing 10.1.1, chapter10-policy/policygradient-car-10.1.1.py.
import { dense } from "./dense.js";
import { reset, step, LIMIT } from "./mountaincar.js";
import { gauss } from "./random.js";

export const FEATURES = 32;
const STEPS = 100; // the sum over the steps of an episode is divided by this number
const [BETA_1, BETA_2] = [0.9, 0.999];

/** A Dense layer with one unit: 32 weights and a bias, which start at 0. */
const unit = () => new Float64Array(FEATURES + 1);

function dot(weights, features) {
  let sum = weights[FEATURES];
  for (let i = 0; i < FEATURES; i++) sum += weights[i] * features[i];
  return sum;
}

/** Adds the gradient of a layer's weights: that of its output times its inputs. */
function addTo(gradient, outer, features) {
  for (let i = 0; i < FEATURES; i++) gradient[i] += outer * features[i];
  gradient[FEATURES] += outer;
}

/** Adam as in Keras, for one array. */
class Adam {
  constructor(epsilon) {
    this.epsilon = epsilon;
    this.steps = 0;
    [this.mean, this.square] = [unit(), unit()];
  }

  update(weights, gradient, rate) {
    this.steps += 1;
    const alpha = (rate * Math.sqrt(1 - BETA_2 ** this.steps)) / (1 - BETA_1 ** this.steps);
    for (let i = 0; i < weights.length; i++) {
      this.mean[i] += (gradient[i] - this.mean[i]) * (1 - BETA_1);
      this.square[i] += (gradient[i] ** 2 - this.square[i]) * (1 - BETA_2);
      weights[i] -= (alpha * this.mean[i]) / (Math.sqrt(this.square[i]) + this.epsilon);
    }
  }
}

/**
 * The weights of the log-probabilities and the targets of the values (table 10.6.1).
 * `values` has one number more than the others: that of the last state.
 */
export function advantages(method, values, { rewards, returns, flag }, gamma) {
  const steps = rewards.length;
  const found = { advantage: new Float64Array(steps), targets: new Float64Array(steps) };
  for (let t = 0; t < steps; t++) {
    const discount = gamma ** t;
    const ended = flag && t === steps - 1;
    let target = returns[t];
    let advantage = returns[t] - values[t]; // A2C, whose returns end with V without the flag
    if (method === "reinforce") advantage = discount * returns[t];
    else if (method === "baseline") advantage *= discount;
    else if (method === "actor_critic") {
      target = rewards[t] + gamma * (ended ? 0 : values[t + 1]);
      advantage = discount * (target - values[t]);
    }
    found.advantage[t] = advantage;
    found.targets[t] = target;
  }
  return found;
}

/** R_t = r_t + gamma R_{t+1}; `last` is the return after the last step. */
export function discountedReturns(rewards, gamma, last) {
  const returns = new Float64Array(rewards.length);
  for (let t = rewards.length - 1; t >= 0; t--) returns[t] = last = rewards[t] + gamma * last;
  return returns;
}

/** The actor and the value network of one method, and how they learn. */
export class PolicyAgent {
  /** @param {Object} settings those of the script: gamma, beta, correlation, least_std, ... */
  constructor(method, settings) {
    [this.method, this.settings] = [method, settings];
    [this.mean, this.std, this.value] = [unit(), unit(), unit()];
    [this.meanAdam, this.stdAdam] = [new Adam(settings.epsilon), new Adam(settings.epsilon)];
    this.valueAdam = new Adam(1e-7);
  }

  /** Mean and standard deviation of the action. */
  policy(features) {
    const raw = dot(this.std, features);
    const softplus = Math.max(raw, 0) + Math.log1p(Math.exp(-Math.abs(raw)));
    return [dot(this.mean, features), softplus + this.settings.least_std, raw];
  }

  /** The loss of an episode and its gradients with respect to the two layers of the actor. */
  gradients(features, actions, advantage) {
    const { correlation, beta } = this.settings;
    const spreadLater = Math.sqrt(1 - correlation ** 2);
    const found = { loss: 0, mean: unit(), std: unit() };
    const steps = actions.length;
    const policies = actions.map((_, t) => this.policy(features[t]));
    const noise = actions.map((action, t) => (action - policies[t][0]) / policies[t][1]);
    const spread = (t) => (t === 0 ? 1 : spreadLater);
    const error = noise.map((z, t) => (z - (t ? correlation * noise[t - 1] : 0)) / spread(t));
    const weight = 1 / STEPS;
    for (let t = 0; t < steps; t++) {
      const [, std, raw] = policies[t];
      const logStd = Math.log(std * spread(t));
      const density = -0.5 * error[t] ** 2 - logStd - 0.5 * Math.log(2 * Math.PI);
      const entropy = logStd + 0.5 * Math.log(2 * Math.PI * Math.E);
      found.loss -= weight * (advantage[t] * density + beta * entropy);
      // The noise of a step is in its own density and in that of the next step.
      let byNoise = (weight * advantage[t] * error[t]) / spread(t);
      if (t + 1 < steps) {
        byNoise -= (weight * advantage[t + 1] * error[t + 1] * correlation) / spreadLater;
      }
      const byStd = (weight * (advantage[t] - beta) - byNoise * noise[t]) / std;
      addTo(found.mean, -byNoise / std, features[t]);
      addTo(found.std, byStd / (1 + Math.exp(-raw)), features[t]);
    }
    return found;
  }

  /**
   * One update of each network from an episode, with a share of the first learning rates.
   * @param {Object} episode features of all states (T + 1), actions, rewards, flag
   */
  learn(episode, share) {
    const { features, actions, rewards, flag } = episode;
    const { gamma, learning_rate: rate, value_learning_rate: valueRate } = this.settings;
    const values = features.map((each) => dot(this.value, each));
    const bootstrap = this.method === "a2c" && !flag;
    const returns = discountedReturns(rewards, gamma, bootstrap ? values.at(-1) : 0);
    const known = { rewards, returns, flag };
    const { advantage, targets } = advantages(this.method, values, known, gamma);
    const { loss, mean, std } = this.gradients(features, actions, advantage);
    this.meanAdam.update(this.mean, mean, share * rate);
    this.stdAdam.update(this.std, std, share * rate);
    if (this.method !== "reinforce") {
      const gradient = unit();
      targets.forEach((target, t) => {
        addTo(gradient, (-2 / STEPS) * (target - values[t]), features[t]);
      });
      this.valueAdam.update(this.value, gradient, share * valueRate);
    }
    return loss;
  }
}

/**
 * Plays one episode, see `learn`; without `random`, each action is the mean.
 * @param {Float32Array[]} encoder weights of the network that maps a state to its features
 */
export function runEpisode(agent, encoder, starts, random) {
  const { correlation } = agent.settings;
  const encode = ({ position, velocity }) => dense(encoder, [position, velocity]);
  let car = reset(starts);
  const episode = { features: [encode(car)], actions: [], rewards: [], path: [car], flag: false };
  let noise = random ? gauss(random) : 0;
  while (!car.flag && car.steps < LIMIT) {
    const [mean, std] = agent.policy(episode.features.at(-1));
    const action = mean + std * noise;
    if (random) noise = correlation * noise + Math.sqrt(1 - correlation ** 2) * gauss(random);
    const next = step(car, action);
    episode.actions.push(action);
    episode.rewards.push(next.reward - car.reward);
    episode.features.push(encode(next));
    episode.path.push(next);
    car = next;
  }
  episode.flag = Boolean(car.flag);
  episode.reward = car.reward;
  return episode;
}
