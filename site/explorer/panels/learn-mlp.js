// Chapter 1: the classifier of listing 1.3.2 learns.
import { addBars, showBars } from "../bars.js";
import { drawChart } from "../charts.js";
import { Live } from "../live.js";
import { sampleDigit } from "../manifest.js";
import { Pad } from "../pad.js";
import { drawDigit, redraw } from "../paint.js";

export async function start(panel) {
  const find = (name) => panel.querySelector(name);
  const bars = find(".bars");
  addBars(bars, "MLP", "live");
  let history = { loss: [], accuracy: [] };

  function drawCurves() {
    const accuracy = history.accuracy.map((value) => 100 * value);
    drawChart(find(".accuracy"), [{ values: accuracy, color: "accent" }], { low: 80, high: 100 });
    drawChart(find(".loss"), [{ values: history.loss, color: "bad" }], { low: 0, digits: 2 });
  }

  function showConfused(rows) {
    find(".confused").replaceChildren(
      ...rows.map(({ image, label, predicted }) => {
        const figure = document.createElement("figure");
        const tile = document.createElement("span");
        tile.className = "tile";
        const canvas = document.createElement("canvas");
        canvas.className = "digit";
        drawDigit(canvas, image);
        const caption = document.createElement("figcaption");
        caption.textContent = `${label}, read as ${predicted}`;
        tile.append(canvas);
        figure.append(tile, caption);
        return figure;
      }),
    );
  }

  const live = new Live(panel, "mlp", {
    unit: "step",
    sliders: {
      learningRate: {
        label: "Learning rate",
        values: [1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2],
        value: 1e-3,
      },
      batchSize: { label: "Batch size", values: [16, 32, 64, 128, 256, 512], value: 128 },
      shift: { label: "Shift, pixels", values: [0, 1, 2, 3], value: 1 },
    },
    file: () => ({
      frame: "mlp-frame",
      name: "mlp_mnist.h5",
      command: "mlp-mnist-1.3.2.py --weights=mlp_mnist.h5",
    }),
    show(report) {
      if ("history" in report) {
        history = report.history;
        drawCurves();
        showConfused(report.confused);
        find(".tested").textContent = `${(100 * report.accuracy).toFixed(1)} % of the test digits`;
      }
      if ("drawn" in report) showBars(bars, "live", report.drawn);
      if (report.kind === "progress") {
        live.say(
          `Epoch ${report.epoch}, step ${report.count.toLocaleString("en")}, ` +
            `loss ${report.loss.toFixed(3)}`,
        );
      } else if (report.kind !== "asked") live.say("The weights are random. Train the network.");
    },
  });
  await live.open();
  const pad = new Pad(find(".pad"), (digit) => live.send("ask", { digit }));
  find(".clear").addEventListener("click", () => pad.clear());
  const digit = sampleDigit(4);
  pad.show(digit);
  live.send("ask", { digit });
  redraw(drawCurves);
}
