// Chapter 9: the agent of listing 9.6.1 learns to keep a pole upright.
import { GOAL, LENGTH, LIMIT, MOST_ANGLE, MOST_PLACE } from "../cartpole.js";
import { drawChart } from "../charts.js";
import { Live } from "../live.js";
import { color, fit, redraw, rgb } from "../paint.js";
import { Replay } from "../replay.js";

const MAP = [24, 18]; // as in live/dqn.js
const STEPS_A_SECOND = 50;

export async function start(panel) {
  const find = (name) => panel.querySelector(name);
  let history = { reward: [], mean: [] };
  let values = null;

  function drawPole({ path, episode, at }) {
    const { context, width, height } = fit(find(".cart"));
    const [x, , angle] = path[at];
    const scale = width / (2 * MOST_PLACE + 1);
    const [cx, cy] = [width / 2 + scale * x, height - 46];
    context.fillStyle = color("line");
    context.fillRect(0, cy + 18, width, 2);
    for (const end of [-MOST_PLACE, MOST_PLACE]) {
      context.fillRect(width / 2 + scale * end - 1, cy + 6, 2, 26);
    }
    context.fillStyle = color("ink");
    context.beginPath();
    context.roundRect(cx - 26, cy - 4, 52, 20, 4);
    context.fill();
    context.save();
    context.translate(cx, cy);
    context.rotate(angle);
    context.fillStyle = color("accent");
    context.beginPath();
    context.roundRect(-4, -2 * LENGTH * scale * 1.6, 8, 2 * LENGTH * scale * 1.6, 4);
    context.fill();
    context.restore();
    const steps = path.length - 1;
    find(".facts").textContent = episode
      ? `episode ${episode}: step ${at} of ${steps}` + (steps < LIMIT ? ", then it falls" : "")
      : "no episode yet";
  }

  function drawValues() {
    const { context, width, height } = fit(find(".values"));
    if (values) {
      const [columns, rows] = MAP;
      const image = new ImageData(columns, rows);
      const [right, left] = [rgb("accent"), rgb("bad")];
      let most = 1e-6;
      for (let i = 0; i < columns * rows; i++) {
        most = Math.max(most, Math.abs(values[2 * i + 1] - values[2 * i]));
      }
      for (let i = 0; i < columns * rows; i++) {
        const gain = (values[2 * i + 1] - values[2 * i]) / most;
        image.data.set(gain > 0 ? right : left, 4 * i);
        image.data[4 * i + 3] = 40 + 180 * Math.sqrt(Math.abs(gain));
      }
      const small = new OffscreenCanvas(columns, rows);
      small.getContext("2d").putImageData(image, 0, 0);
      context.drawImage(small, 0, 0, width, height);
      const best = (i) => Math.max(values[2 * i], values[2 * i + 1]);
      const middle = Math.floor(rows / 2) * columns + columns / 2;
      find(".value").textContent = `value in the middle: ${best(middle).toFixed(1)}`;
    }
    context.fillStyle = color("ink");
    context.font = `12px ${color("sans")}`;
    context.fillText("angle →", width - 54, height - 8);
    context.fillText("angular speed ↑", 8, 16);
  }

  function drawCurves() {
    const series = [
      { values: history.reward, color: "soft", faint: true },
      { values: history.mean, color: "accent" },
    ];
    drawChart(find(".rewards"), series, { low: 0, high: LIMIT, x: "episode" });
  }

  const replay = new Replay(panel, [0, 0, 0, 0], STEPS_A_SECOND, drawPole);
  const live = new Live(panel, "dqn", {
    unit: "episode",
    sliders: {
      learningRate: {
        label: "Learning rate",
        values: [5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3],
        value: 5e-4,
      },
      batchSize: { label: "Batch size", values: [16, 32, 64, 128], value: 64 },
      gamma: { label: "Gamma", values: [0.8, 0.9, 0.95, 0.98, 0.99], value: 0.98 },
    },
    file: () => ({
      frame: "dqn-frame",
      name: "dqn_cartpole.h5",
      command: "dqn-cartpole-9.6.1.py --weights=dqn_cartpole.h5",
    }),
    show(report) {
      history = report.history;
      if (report.values) values = report.values;
      if (report.path) replay.add(report.path, report.count);
      else replay.clear();
      drawCurves();
      drawValues();
      if (report.kind !== "progress") live.say("The weights are random. Train the agent.");
      else if (report.done) {
        live.say(`Solved after ${report.count} episodes: their last 100 have a mean of ${GOAL}.`);
      } else {
        live.say(
          `Episode ${report.count}: ${history.reward.at(-1)} steps, mean of the last 100: ` +
            `${history.mean.at(-1).toFixed(1)}, ${Math.round(100 * report.epsilon)} % random ` +
            `actions, ${report.updates.toLocaleString("en")} updates`,
        );
      }
    },
  });
  find(".limit").textContent = `${((180 * MOST_ANGLE) / Math.PI).toFixed(0)}°`;
  await live.open();
  redraw(() => {
    replay.show();
    drawCurves();
    drawValues();
  });
}
