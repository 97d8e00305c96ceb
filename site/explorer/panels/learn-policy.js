// Chapter 10: the policies of listing 10.1.1 learn to drive the car.
import { drawChart } from "../charts.js";
import { drawHill, drawPhase } from "../carpictures.js";
import { Live } from "../live.js";
import { LIMIT } from "../mountaincar.js";
import { redraw } from "../paint.js";
import { Replay } from "../replay.js";
import { radios } from "../ui.js";

const MAP = [36, 27]; // as in live/policy.js
const STEPS_A_SECOND = 120;
const METHODS = [
  ["reinforce", "REINFORCE", ""],
  ["baseline", "with baseline", "-b "],
  ["actor_critic", "actor-critic", "-a "],
  ["a2c", "A2C", "-c "],
];

export async function start(panel) {
  const find = (name) => panel.querySelector(name);
  let history = { reward: [], mean: [] };
  let forces = null;
  let method = "a2c";

  function drawCar({ path, episode, at }) {
    const car = path[at];
    drawHill(find(".hill"), car, 0);
    drawPhase(find(".phase"), forces, MAP, 1, path.slice(0, at + 1));
    find(".facts").textContent = episode
      ? `episode ${episode}: step ${car.steps}, reward ${car.reward.toFixed(1).replace("-", "−")}`
      : "no episode yet";
  }

  function drawCurves() {
    const series = [
      { values: history.reward, color: "soft", faint: true },
      { values: history.mean, color: "accent" },
    ];
    drawChart(find(".rewards"), series, { low: -100, high: 100, x: "episode" });
  }

  const start = { position: -0.5, velocity: 0, steps: 0, reward: 0 };
  const replay = new Replay(panel, start, STEPS_A_SECOND, drawCar);
  const live = new Live(panel, "policy", {
    unit: "episode",
    settings: { method },
    sliders: {
      learningRate: {
        label: "Learning rate",
        values: [2.5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2],
        value: 2.5e-3,
      },
      correlation: { label: "Correlation of the noise", values: [0, 0.5, 0.8, 0.9, 0.95], value: 0.9 },
    },
    file: () => ({
      frame: `policy-frame_${method}`,
      name: `car_${method}_actor.h5`,
      command:
        "policygradient-car-10.1.1.py " +
        `${METHODS.find(([name]) => name === method)[2]}-e car_encoder.h5 -w car_${method}_actor.h5`,
    }),
    show(report) {
      ({ history, forces } = report);
      if (report.path) replay.add(report.path, report.count);
      else if (report.kind !== "progress") replay.clear();
      drawCurves();
      const { count } = report;
      if (!count) live.say("The policy does nothing but noise. Train it.");
      else {
        const mean = history.mean.at(-1).toFixed(1).replace("-", "−");
        live.say(
          `${report.done ? "The training is over" : "Training"}: episode ` +
            `${count.toLocaleString("en")} of 1,000, mean reward of the last 100: ${mean}, ` +
            `the flag was reached ${report.flags.toLocaleString("en")} times`,
        );
      }
    },
  });
  radios(
    find(".radios"),
    METHODS.map(([name, text]) => [name, text]),
    method,
    (value) => {
      method = live.fixed.method = value;
      live.restart();
    },
  );
  find(".limit").textContent = LIMIT;
  await live.open();
  redraw(() => {
    replay.show();
    drawCurves();
  });
}
