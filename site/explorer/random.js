// Random numbers that one seed repeats.

/** Mulberry32: returns a function that draws numbers in [0, 1). */
export function generator(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** `count` numbers, uniform in [low, high). */
export function uniform(random, count, low = -1, high = 1) {
  const numbers = new Float32Array(count);
  for (let i = 0; i < count; i++) numbers[i] = low + (high - low) * random();
  return numbers;
}

/** One number from N(0, 1), by the method of Box and Muller. */
export function gauss(random) {
  const radius = Math.sqrt(-2 * Math.log(1 - random()));
  return radius * Math.cos(2 * Math.PI * random());
}

/** `count` numbers from N(0, std^2). */
export function normal(random, count, std = 1) {
  const numbers = new Float32Array(count);
  for (let i = 0; i < count; i++) numbers[i] = std * gauss(random);
  return numbers;
}

/** The numbers from 0 to count - 1 in random order. */
export function permutation(random, count) {
  const order = Uint32Array.from({ length: count }, (_, i) => i);
  for (let i = count - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}

/** One-hot rows (labels.length, 10). */
export function oneHot(labels) {
  const rows = new Float32Array(labels.length * 10);
  labels.forEach((label, row) => {
    rows[row * 10 + label] = 1;
  });
  return rows;
}
