// Chapters 1 and 3: classifiers and autoencoders on a digit that the reader draws.
import { addBars, showBars } from "../bars.js";
import { latest, tensor } from "../engine.js";
import { sampleDigit } from "../manifest.js";
import { Pad } from "../pad.js";
import { drawDigit } from "../paint.js";
import { generator, normal } from "../random.js";
import { remember, remembered } from "../state.js";
import { Status, slider } from "../ui.js";

const SIDE = 28;
const CLASSIFIERS = [
  ["MLP", "mlp_mnist", "inputs", [784]],
  ["CNN", "cnn_mnist", "inputs", [28, 28, 1]],
  ["RNN", "rnn_mnist", "inputs", [28, 28]],
];

export async function start(panel) {
  const status = new Status(panel, "One digit");
  const find = (name) => panel.querySelector(name);
  const bars = find(".bars");
  for (const [name, model] of CLASSIFIERS) addBars(bars, name, model);
  const noise = normal(generator(0), SIDE * SIDE);

  const update = latest(
    status.guard(async (digit) => {
      drawDigit(find(".seen"), digit ?? new Float32Array(SIDE * SIDE));
      if (!digit) {
        for (const [, model] of CLASSIFIERS) showBars(bars, model, null);
        for (const each of [".decoded", ".noisy", ".denoised"]) {
          drawDigit(find(each), new Float32Array(SIDE * SIDE));
        }
        return;
      }
      // The listing's noise at a level of 0.5: its mean and its deviation are 0.5.
      const noisy = digit.map((value, i) =>
        Math.min(Math.max(value + level() * (1 + noise[i]), 0), 1),
      );
      drawDigit(find(".noisy"), noisy);
      for (const [name, model, input, shape] of CLASSIFIERS) {
        const { outputs, ms } = await status.run(model, { [input]: tensor(digit, ...shape) });
        showBars(bars, model, [...outputs.output.data]);
        status.time({ [name]: ms });
      }
      for (const [name, model, image, target] of [
        ["autoencoder", "autoencoder_mnist", digit, ".decoded"],
        ["denoising", "denoising_autoencoder", noisy, ".denoised"],
      ]) {
        const { outputs, ms } = await status.run(model, { images: tensor(image, SIDE, SIDE, 1) });
        drawDigit(find(target), outputs.output.data);
        status.time({ [name]: ms });
      }
    }),
  );

  let digit = null;
  const pad = new Pad(find(".pad"), (drawn) => {
    digit = drawn;
    update(digit);
  });
  const level = slider(find(".level"), () => update(digit));
  find(".clear").addEventListener("click", () => pad.clear());

  function take(number) {
    digit = sampleDigit(number);
    pad.show(digit);
    return update(digit);
  }
  for (let number = 0; number < 10; number++) {
    const button = document.createElement("button");
    button.type = "button";
    button.setAttribute("aria-label", `sample ${number}`);
    const canvas = document.createElement("canvas");
    canvas.className = "digit";
    drawDigit(canvas, sampleDigit(number));
    button.append(canvas);
    button.addEventListener("click", () => {
      remember(panel, "sample", number);
      take(number);
    });
    find(".samples").append(button);
  }
  panel.addEventListener("network", () => update(digit));
  await take(Number(remembered(panel, "sample") ?? 3));
}
