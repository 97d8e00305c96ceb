// Q-learning on the grid of listing 9.3.1, chapter9-drl/q-learning-9.3.1.py.

export const ACTIONS = ["Left", "Down", "Right", "Up"];
export const ROWS = 2;
export const COLUMNS = 3;
export const START = 0;
export const GOAL = 2;
export const HOLE = 5;
export const GAMMA = 0.9;
const EPSILON = 0.9;
const EPSILON_DECAY = 0.9; // an episode
const EPSILON_MIN = 0.1;
const REWARDS = { [GOAL]: 100, [HOLE]: -100 };

/** The cell that an action leads to, the reward, and whether the episode ends. */
export function step(state, action) {
  let row = Math.floor(state / COLUMNS);
  let column = state % COLUMNS;
  if (action === 0) column = Math.max(column - 1, 0);
  else if (action === 1) row = Math.min(row + 1, ROWS - 1);
  else if (action === 2) column = Math.min(column + 1, COLUMNS - 1);
  else row = Math.max(row - 1, 0);
  const next = row * COLUMNS + column;
  return { next, reward: REWARDS[next] ?? 0, done: next in REWARDS };
}

/** A table of values, one row per cell and one column per action, and how it learns. */
export class QAgent {
  /** @param {function(): number} random draws numbers in [0, 1) */
  constructor(random) {
    this.random = random;
    this.table = Array.from({ length: ROWS * COLUMNS }, () => [0, 0, 0, 0]);
    this.epsilon = EPSILON;
  }

  /** A random action with probability epsilon, else one of those of highest value. */
  act(state) {
    if (this.random() < this.epsilon) return Math.floor(this.random() * ACTIONS.length);
    const values = this.table[state];
    const best = Math.max(...values);
    const actions = [0, 1, 2, 3].filter((action) => values[action] === best);
    return actions[Math.floor(this.random() * actions.length)];
  }

  /** Q(s, a) = r + gamma max Q(s', .). The rows of goal and hole stay zero. */
  update(state, action, reward, next) {
    this.table[state][action] = reward + GAMMA * Math.max(...this.table[next]);
  }

  /** Reduces the share of random actions after an episode. */
  endEpisode() {
    this.epsilon = Math.max(EPSILON_MIN, this.epsilon * EPSILON_DECAY);
  }
}
