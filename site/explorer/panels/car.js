// Chapter 10: a policy drives the car of MountainCarContinuous.
import { drawHill, drawPhase } from "../carpictures.js";
import { latest, tensor } from "../engine.js";
import { HIGH, LIMIT, LOW, MAX_SPEED, reset, step } from "../mountaincar.js";
import { redraw } from "../paint.js";
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

  function show() {
    drawHill(find(".hill"), car, force);
    drawPhase(find(".phase"), forces, MAP, 2, path);
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
    button.addEventListener("keydown", ({ key }) => {
      if (key === "Enter" || key === " ") keys[side] = true;
    });
    for (const name of ["pointerup", "pointerleave", "pointercancel", "keyup", "blur"]) {
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
  panel.addEventListener("network", updateMap);
  redraw(show);
  await updateMap();
  if (!matchMedia("(prefers-reduced-motion: reduce)").matches) play(true);
}
