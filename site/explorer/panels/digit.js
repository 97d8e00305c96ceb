// Chapters 4, 5 and 8: generators that are told which digit to draw.
import { latest, tensor } from "../engine.js";
import { drawDigits } from "../paint.js";
import { generator, normal, oneHot, uniform } from "../random.js";
import { remember, remembered } from "../state.js";
import { Status, radios } from "../ui.js";

const COLUMNS = 8;
const NOISE = {
  cgan_mnist: (random) => ({ noise: tensor(uniform(random, COLUMNS * 100), 100) }),
  acgan_mnist: (random) => ({ noise: tensor(uniform(random, COLUMNS * 100), 100) }),
  "cvae_cnn_mnist-decoder": (random) => ({ codes: tensor(normal(random, COLUMNS * 2), 2) }),
};

export async function start(panel) {
  const status = new Status(panel, "One digit");
  let digit = 8;
  let seed = Number(remembered(panel, "seed"));

  const update = latest(
    status.guard(async () => {
      const labels = tensor(oneHot(Array(COLUMNS).fill(digit)), 10);
      for (const row of panel.querySelectorAll(".digits")) {
        const { model } = row.dataset;
        const inputs = { ...NOISE[model](generator(seed)), labels };
        const { outputs, ms } = await status.run(model, inputs);
        const name = row.previousElementSibling.textContent;
        drawDigits(row, outputs.output.data, `the digit ${digit}, ${COLUMNS} times, by ${name}`);
        status.time({ [name]: ms / COLUMNS });
      }
    }),
  );

  const options = Array.from({ length: 10 }, (_, i) => [i, String(i)]);
  radios(panel.querySelector(".radios"), options, digit, (value) => {
    digit = value;
    update();
  });
  panel.querySelector(".fresh").addEventListener("click", () => {
    seed += 1;
    remember(panel, "seed", seed);
    update();
  });
  panel.addEventListener("network", update);
  await update();
}
