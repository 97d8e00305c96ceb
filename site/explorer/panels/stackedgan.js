// Chapter 6: the two noises of StackedGAN, for all digits.
import { latest, tensor } from "../engine.js";
import { drawDigits } from "../paint.js";
import { oneHot } from "../random.js";
import { Status, slider } from "../ui.js";

const DIGITS = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];
const SIZE = 50;

export async function start(panel) {
  const status = new Status(panel, "One digit");
  const row = panel.querySelector(".digits");
  const labels = tensor(oneHot(DIGITS), 10);
  const constant = (value) => tensor(new Float32Array(10 * SIZE).fill(value), SIZE);

  const update = latest(
    status.guard(async () => {
      const below = await status.run("stackedgan_mnist-gen1", { labels, z1: constant(z1()) });
      const features = below.outputs.output;
      const inputs = { features, z0: constant(z0()) };
      const { outputs, ms } = await status.run("stackedgan_mnist-gen0", inputs);
      drawDigits(row, outputs.output.data, "the digits 0 to 9 with this noise");
      status.time({ StackedGAN: (below.ms + ms) / 10 });
    }),
  );

  const z1 = slider(panel.querySelector(".z1"), update);
  const z0 = slider(panel.querySelector(".z0"), update);
  panel.addEventListener("network", update);
  await update();
}
