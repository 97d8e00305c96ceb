// Pictures of the car of MountainCarContinuous.
import { GOAL, HIGH, LOW, MAX_SPEED, height } from "./mountaincar.js";
import { color, fit, rgb } from "./paint.js";

/** Draws the hill, and the car on it with a bar for the force. */
export function drawHill(canvas, car, force) {
  const { context, width, height: tall } = fit(canvas);
  const x = (position) => ((position - LOW + 0.05) / (HIGH - LOW + 0.1)) * width;
  const y = (level) => tall - 16 - level * (tall - 76);
  context.beginPath();
  context.moveTo(0, tall);
  for (let i = 0; i <= 120; i++) {
    const position = LOW - 0.05 + ((HIGH - LOW + 0.1) * i) / 120;
    context.lineTo(x(position), y(height(position)));
  }
  context.lineTo(width, tall);
  context.fillStyle = color("line");
  context.fill();
  // The flag.
  const [fx, fy] = [x(GOAL), y(height(GOAL))];
  context.fillStyle = color("good");
  context.fillRect(fx - 1, fy - 40, 2, 40);
  context.beginPath();
  context.moveTo(fx, fy - 40);
  context.lineTo(fx + 22, fy - 33);
  context.lineTo(fx, fy - 26);
  context.fill();
  // The car, along the slope.
  context.save();
  context.translate(x(car.position), y(height(car.position)));
  const run = x(car.position + 0.01) - x(car.position);
  const rise = y(height(car.position + 0.01)) - y(height(car.position));
  context.rotate(Math.atan2(rise, run));
  context.fillStyle = color("ink");
  context.beginPath();
  context.roundRect(-19, -18, 38, 11, 4);
  context.roundRect(-11, -26, 21, 10, 4);
  context.fill();
  for (const wheel of [-11, 11]) {
    context.beginPath();
    context.arc(wheel, -6, 6, 0, 2 * Math.PI);
    context.fillStyle = color("soft");
    context.fill();
  }
  if (Math.abs(force) > 0.02) {
    // The force, as a bar in the direction of the push.
    context.fillStyle = color(force > 0 ? "accent" : "bad");
    context.fillRect(0, -36, 34 * force, 5);
  }
  context.restore();
}

/**
 * Draws the force in each state as a color, and the way of the car.
 * @param {ArrayLike<number>?} forces the force in each state, with `stride` numbers for a state
 * @param {number[]} size columns (positions) and rows (velocities, the highest first)
 */
export function drawPhase(canvas, forces, size, stride, path) {
  const { context, width, height: tall } = fit(canvas);
  if (forces) {
    const [columns, rows] = size;
    const image = new ImageData(columns, rows);
    const [right, left] = [rgb("accent"), rgb("bad")];
    for (let i = 0; i < columns * rows; i++) {
      const push = Math.min(Math.max(forces[stride * i], -1), 1);
      image.data.set(push > 0 ? right : left, 4 * i);
      image.data[4 * i + 3] = 190 * Math.abs(push);
    }
    const small = new OffscreenCanvas(columns, rows);
    small.getContext("2d").putImageData(image, 0, 0);
    context.drawImage(small, 0, 0, width, tall);
  }
  const car = path.at(-1);
  const x = (position) => ((position - LOW) / (HIGH - LOW)) * width;
  const y = (velocity) => (0.5 - velocity / (2 * MAX_SPEED)) * tall;
  context.beginPath();
  for (const { position, velocity } of path) context.lineTo(x(position), y(velocity));
  context.strokeStyle = color("ink");
  context.lineWidth = 2;
  context.stroke();
  context.beginPath();
  context.arc(x(car.position), y(car.velocity), 5, 0, 2 * Math.PI);
  context.fillStyle = color("ink");
  context.fill();
  context.font = `12px ${color("sans")}`;
  context.fillText("position →", width - 70, tall - 8);
  context.fillText("velocity ↑", 8, 16);
}
