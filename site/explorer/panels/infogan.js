// Chapter 6: the two codes of InfoGAN, for all digits.
import { latest, tensor } from "../engine.js";
import { drawDigits } from "../paint.js";
import { generator, oneHot, uniform } from "../random.js";
import { remember, remembered } from "../state.js";
import { Status, slider } from "../ui.js";

const DIGITS = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];
const SIZE = 62;

export async function start(panel) {
  const status = new Status(panel, "One digit");
  const row = panel.querySelector(".digits");
  const labels = tensor(oneHot(DIGITS), 10);
  let seed = Number(remembered(panel, "seed"));

  const update = latest(
    status.guard(async () => {
      const { outputs, ms } = await status.run(row.dataset.model, {
        noise: tensor(uniform(generator(seed), 10 * SIZE), SIZE),
        labels,
        code1: tensor(new Float32Array(10).fill(code1()), 1),
        code2: tensor(new Float32Array(10).fill(code2()), 1),
      });
      drawDigits(row, outputs.output.data, "the digits 0 to 9 with these codes");
      status.time({ InfoGAN: ms / 10 });
    }),
  );

  const code1 = slider(panel.querySelector(".code1"), update);
  const code2 = slider(panel.querySelector(".code2"), update);
  panel.querySelector(".fresh").addEventListener("click", () => {
    seed += 1;
    remember(panel, "seed", seed);
    update();
  });
  panel.addEventListener("network", update);
  await update();
}
