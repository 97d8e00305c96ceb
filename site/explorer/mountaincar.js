// MountainCarContinuous-v0 as in Gymnasium, in single precision as there.

export const LOW = -1.2;
export const HIGH = 0.6;
export const MAX_SPEED = 0.07;
export const GOAL = 0.45;
export const LIMIT = 999; // steps of an episode
const POWER = 0.0015;
const GRAVITY = 0.0025;
const { fround } = Math;

/** The height of the hill at a position. */
export function height(position) {
  return Math.sin(3 * position) * 0.45 + 0.55;
}

/** A start in the valley, at rest. */
export function reset(random) {
  return { position: fround(-0.6 + 0.2 * random()), velocity: 0, steps: 0, reward: 0 };
}

/**
 * The state after one step.
 * @param {{position: number, velocity: number, steps: number, reward: number}} state
 * @param {number} action the force, limited to [-1, 1]
 */
export function step(state, action) {
  const force = fround(Math.min(Math.max(action, -1), 1));
  let velocity = fround(
    state.velocity + fround(fround(force * fround(POWER)) - GRAVITY * Math.cos(3 * state.position)),
  );
  velocity = fround(Math.min(Math.max(velocity, -MAX_SPEED), MAX_SPEED));
  let position = fround(state.position + velocity);
  position = fround(Math.min(Math.max(position, LOW), HIGH));
  if (position === fround(LOW) && velocity < 0) velocity = 0;
  const flag = position >= GOAL && velocity >= 0;
  return {
    position,
    velocity,
    flag,
    steps: state.steps + 1,
    reward: state.reward + (flag ? 100 : 0) - 0.1 * force * force,
  };
}
