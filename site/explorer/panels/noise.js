// Chapters 4 and 5: DCGAN, WGAN and LSGAN draw from the same noise.
import { latest, tensor } from "../engine.js";
import { drawDigits } from "../paint.js";
import { generator, uniform } from "../random.js";
import { remember, remembered } from "../state.js";
import { Status, moveSlider, player, slider } from "../ui.js";

const COLUMNS = 8;
const SIZE = 100;
const SECONDS = 4; // from one noise to the next

export async function start(panel) {
  const status = new Status(panel, "One digit");
  const rows = [...panel.querySelectorAll(".digits")];
  const input = panel.querySelector(".between");
  let seed = Number(remembered(panel, "seed"));
  let ends = [seed, seed + 1].map((each) => uniform(generator(each), COLUMNS * SIZE));

  // The slider rounds its value; a slow walk would never leave a step of it.
  let place = 0;
  let walking = false;

  const update = latest(
    status.guard(async () => {
      const t = place;
      const noise = ends[0].map((value, i) => (1 - t) * value + t * ends[1][i]);
      for (const row of rows) {
        const { model } = row.dataset;
        const { outputs, ms } = await status.run(model, { noise: tensor(noise, SIZE) });
        const name = row.previousElementSibling.textContent;
        drawDigits(row, outputs.output.data, `${COLUMNS} digits by ${name}`);
        status.time({ [name]: ms / COLUMNS });
      }
    }),
  );

  const between = slider(input, () => {
    if (!walking) place = between();
    update();
  });

  function next() {
    seed += 1;
    ends = [ends[1], uniform(generator(seed + 1), COLUMNS * SIZE)];
  }
  panel.querySelector(".fresh").addEventListener("click", () => {
    next();
    remember(panel, "seed", seed);
    moveSlider(input, 0);
  });

  player(panel.querySelector(".walk"), ["Walk", "Stop"], async (seconds) => {
    place += seconds / SECONDS;
    if (place >= 1) {
      next();
      place -= 1;
    }
    walking = true;
    moveSlider(input, place);
    walking = false;
    await update();
  });
  panel.addEventListener("network", update);
  await update();
}
