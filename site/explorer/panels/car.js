// Chapter 10: a policy drives the car of MountainCarContinuous.
import { latest, tensor } from "../engine.js";
import { GOAL, HIGH, LIMIT, LOW, MAX_SPEED, height, reset, step } from "../mountaincar.js";
import { color, fit, redraw, rgb } from "../paint.js";
import { generator } from "../random.js";
import { Status, player, radios } from "../ui.js";

const POLICIES = [
  ["car_reinforce", "REINFORCE"],
  ["car_baseline", "with baseline"],
  ["car_actor_critic", "actor-critic"],
  ["car_a2c", "A2C"],
];
const STEPS_A_SECOND = 45;
const MAP = [48, 36]; // states in the picture of the policy: positions and velocities

export async function start(panel) {
  const status = new Status(panel, "The policy");
  const find = (name) => panel.querySelector(name);
  const human = find(".human");
  const keys = { left: false, right: false };
  let [model] = POLICIES[3];
  let seed = 0;
  let car = null;
  let path = [];
  let force = 0;
  let forces = null;

  function drawHill() {
    const { context, width, height: tall } = fit(find(".hill"));
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

  function drawPhase() {
    const { context, width, height: tall } = fit(find(".phase"));
    if (forces) {
      const [columns, rows] = MAP;
      const image = new ImageData(columns, rows);
      const [right, left] = [rgb("accent"), rgb("bad")];
      for (let i = 0; i < columns * rows; i++) {
        const push = Math.min(Math.max(forces[2 * i], -1), 1);
        image.data.set(push > 0 ? right : left, 4 * i);
        image.data[4 * i + 3] = 190 * Math.abs(push);
      }
      const small = new OffscreenCanvas(columns, rows);
      small.getContext("2d").putImageData(image, 0, 0);
      context.drawImage(small, 0, 0, width, tall);
    }
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

  function show() {
    drawHill();
    drawPhase();
    const who = human.checked ? "You" : "The policy";
    const end = car.flag
      ? `${who} reached the flag after ${car.steps} steps`
      : car.steps >= LIMIT
        ? `${who} did not reach the flag in ${LIMIT} steps`
        : `step ${car.steps}`;
    find(".facts").textContent = `${end}, reward ${car.reward.toFixed(1).replace("-", "−")}`;
  }

  const updateMap = latest(
    status.guard(async () => {
      const [columns, rows] = MAP;
      const states = new Float32Array(2 * columns * rows);
      for (let i = 0; i < columns * rows; i++) {
        states[2 * i] = LOW + ((HIGH - LOW) * ((i % columns) + 0.5)) / columns;
        states[2 * i + 1] = MAX_SPEED * (1 - (2 * (Math.floor(i / columns) + 0.5)) / rows);
      }
      const { outputs, ms } = await status.run(model, { states: tensor(states, 2) });
      forces = outputs.output.data;
      status.time({ [`${(columns * rows).toLocaleString("en")} states`]: ms });
      show();
    }),
  );

  function restart() {
    car = reset(generator(seed));
    path = [car];
    force = 0;
    show();
  }

  let waited = 0;
  const tick = status.guard(async () => {
    if (human.checked) force = Number(keys.right) - Number(keys.left);
    else {
      const states = Float32Array.of(car.position, car.velocity);
      const { outputs, ms } = await status.run(model, { states: tensor(states, 2) });
      [force] = outputs.output.data;
      force = Math.min(Math.max(force, -1), 1);
      status.time({ "one action": ms });
    }
    car = step(car, force);
    path.push(car);
  });
  const over = () => car.flag || car.steps >= LIMIT;
  const play = player(find(".play"), ["Drive", "Pause"], async (seconds) => {
    if (over()) {
      seed += 1;
      restart();
    }
    waited += seconds * STEPS_A_SECOND;
    for (; waited >= 1 && !over(); waited -= 1) await tick();
    show();
    return !over();
  });

  find(".reset").addEventListener("click", () => {
    play(false);
    seed += 1;
    restart();
  });
  human.addEventListener("change", () => {
    find(".drive").hidden = !human.checked;
    restart();
    play(true);
    if (human.checked) find(".hill").focus();
  });
  for (const [name, value] of [["keydown", true], ["keyup", false]]) {
    find(".hill").addEventListener(name, (event) => {
      const side = { ArrowLeft: "left", ArrowRight: "right" }[event.key];
      if (!side || !human.checked) return;
      keys[side] = value;
      event.preventDefault();
    });
  }
  for (const side of ["left", "right"]) {
    const button = find(`.go-${side}`);
    button.addEventListener("pointerdown", () => {
      keys[side] = true;
    });
    for (const name of ["pointerup", "pointerleave", "pointercancel"]) {
      button.addEventListener(name, () => {
        keys[side] = false;
      });
    }
  }
  radios(find(".radios"), POLICIES, model, async (value) => {
    model = value;
    await updateMap();
  });

  restart();
  redraw(show);
  await updateMap();
  if (!matchMedia("(prefers-reduced-motion: reduce)").matches) play(true);
}
