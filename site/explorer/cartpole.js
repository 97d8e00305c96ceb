// CartPole-v0 as in Gymnasium: double precision inside, single precision for the agent.

export const LIMIT = 200; // steps of an episode
export const GOAL = 195; // mean reward of 100 episodes that solves the task
export const MOST_PLACE = 2.4;
export const MOST_ANGLE = (12 * 2 * Math.PI) / 360;
export const LENGTH = 0.5; // half of the pole
const GRAVITY = 9.8;
const POLE = 0.1; // mass
const TOTAL = 1.1;
const FORCE = 10;
const SECONDS = 0.02; // a step

/** A start near the upright position: place, speed, angle, speed of the angle. */
export function reset(random) {
  return { state: Array.from({ length: 4 }, () => -0.05 + 0.1 * random()), steps: 0 };
}

/** The next state after a push to the left (0) or right (1), and whether the pole fell. */
export function step({ state, steps }, action) {
  let [x, speed, angle, turning] = state;
  const force = action === 1 ? FORCE : -FORCE;
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
  const push = (force + POLE * LENGTH * turning ** 2 * sin) / TOTAL;
  const turn =
    (GRAVITY * sin - cos * push) / (LENGTH * (4 / 3 - (POLE * cos ** 2) / TOTAL));
  const acceleration = push - (POLE * LENGTH * turn * cos) / TOTAL;
  x += SECONDS * speed;
  speed += SECONDS * acceleration;
  angle += SECONDS * turning;
  turning += SECONDS * turn;
  const fell = Math.abs(x) > MOST_PLACE || Math.abs(angle) > MOST_ANGLE;
  return { state: [x, speed, angle, turning], steps: steps + 1, fell };
}
