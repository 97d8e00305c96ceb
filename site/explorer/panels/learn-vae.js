// Chapter 8: the plane of listing 8.1.1 forms.
import { drawChart } from "../charts.js";
import { Live } from "../live.js";
import { drawAtlas, fit, redraw } from "../paint.js";

const GRID = 13; // as in live/vae.js
const HUES = Array.from({ length: 10 }, (_, digit) => `hsl(${36 * digit} 70% 48%)`);

export async function start(panel) {
  const find = (name) => panel.querySelector(name);
  let history = { reconstruction: [], kl: [] };
  let codes = new Float32Array(0);
  let labels = [];
  let extent = 4;

  function draw() {
    drawChart(find(".reconstruction"), [{ values: history.reconstruction, color: "accent" }], {
      zoom: true,
    });
    drawChart(find(".kl"), [{ values: history.kl, color: "bad" }], { digits: 1 });
    const { context, width, height } = fit(find(".scatter"));
    context.globalAlpha = 0.8;
    labels.forEach((label, i) => {
      context.fillStyle = HUES[label];
      context.beginPath();
      const x = (width * (codes[2 * i] + extent)) / (2 * extent);
      const y = (height * (extent - codes[2 * i + 1])) / (2 * extent);
      context.arc(x, y, 3, 0, 2 * Math.PI);
      context.fill();
    });
  }

  find(".legend").innerHTML = HUES.map(
    (hue, digit) => `<span><i style="background:${hue}"></i>${digit}</span>`,
  ).join(" ");
  const live = new Live(panel, "vae", {
    unit: "step",
    sliders: {
      learningRate: {
        label: "Learning rate",
        values: [1e-4, 3e-4, 1e-3, 3e-3, 1e-2],
        value: 1e-3,
      },
      batchSize: { label: "Batch size", values: [16, 32, 64, 128, 256], value: 128 },
      beta: { label: "Beta", values: [0, 0.1, 0.5, 1, 2, 5, 10], value: 1 },
    },
    file: () => ({
      frame: "vae-frame",
      name: "vae_mlp_mnist.h5",
      command: "vae-mlp-mnist-8.1.1.py --weights=vae_mlp_mnist.h5",
    }),
    show(report) {
      if ("history" in report) {
        ({ history, codes, extent } = report);
        labels = [...report.labels];
        draw();
        drawAtlas(find(".atlas"), report.atlas, GRID);
        const { reconstruction, kl } = report;
        find(".bound").textContent =
          `Test digits: ${(reconstruction + kl).toFixed(1)} nats = reconstruction ` +
          `${reconstruction.toFixed(1)} + KL ${kl.toFixed(1)}. ` +
          `The plane shows codes from −${extent.toFixed(1)} to ${extent.toFixed(1)}.`;
      }
      if (report.kind === "progress") {
        live.say(
          `Epoch ${report.epoch}, step ${report.count.toLocaleString("en")}, ` +
            `loss ${report.loss.toFixed(1)} nats`,
        );
      } else live.say("The weights are random. Train the network.");
    },
  });
  await live.open();
  redraw(draw);
}
