// Chapters 1 and 3: classifiers and autoencoders on a digit that the reader draws.
import { latest, tensor } from "../engine.js";
import { sampleDigit } from "../manifest.js";
import { drawDigit } from "../paint.js";
import { generator, normal } from "../random.js";
import { Status, slider } from "../ui.js";

const SIDE = 28;
const NOISE_MEAN = 0.5; // as in listing 3.3.1
const CLASSIFIERS = [
  ["MLP", "mlp_mnist", "inputs", [784]],
  ["CNN", "cnn_mnist", "inputs", [28, 28, 1]],
  ["RNN", "rnn_mnist", "inputs", [28, 28]],
];

/**
 * Brings a drawing into the form of MNIST: the longer side 20 pixels, the center of mass in the
 * middle of 28 x 28.
 * @param {HTMLCanvasElement} pad the drawing, its opacity the ink
 */
export function centered(pad) {
  const { width, height } = pad;
  const pixels = pad.getContext("2d").getImageData(0, 0, width, height).data;
  let [left, top, right, bottom] = [width, height, -1, -1];
  let [mass, x, y] = [0, 0, 0];
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      const ink = pixels[4 * (row * width + column) + 3];
      if (ink < 8) continue;
      left = Math.min(left, column);
      right = Math.max(right, column);
      top = Math.min(top, row);
      bottom = Math.max(bottom, row);
      mass += ink;
      x += ink * (column + 0.5);
      y += ink * (row + 0.5);
    }
  }
  const digit = new Float32Array(SIDE * SIDE);
  if (mass === 0) return digit;
  const scale = 20 / Math.max(right - left + 1, bottom - top + 1);
  const small = new OffscreenCanvas(SIDE, SIDE);
  const context = small.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.setTransform(scale, 0, 0, scale, SIDE / 2 - scale * (x / mass), SIDE / 2 - scale * (y / mass));
  context.drawImage(pad, 0, 0);
  const made = context.getImageData(0, 0, SIDE, SIDE).data;
  for (let i = 0; i < digit.length; i++) digit[i] = made[4 * i + 3] / 255;
  return digit;
}

function addBars(parent) {
  for (const [name, model] of CLASSIFIERS) {
    const columns = Array.from(
      { length: 10 },
      (_, digit) =>
        `<div class="column"><div class="well"><div class="bar" style="height:0"></div></div>${digit}</div>`,
    );
    parent.insertAdjacentHTML(
      "beforeend",
      `<div class="classifier" data-model="${model}"><span class="name">${name}</span>` +
        `<div class="columns" aria-hidden="true">${columns.join("")}</div><span class="verdict"></span></div>`,
    );
  }
}

function showBars(parent, model, probabilities) {
  const row = parent.querySelector(`[data-model="${model}"]`);
  row.querySelectorAll(".bar").forEach((bar, digit) => {
    bar.style.height = `${100 * probabilities[digit]}%`;
  });
  const best = probabilities.indexOf(Math.max(...probabilities));
  row.querySelector(".verdict").innerHTML = `<b>${best}</b> ${(100 * probabilities[best]).toFixed(1)} %`;
}

/** Draws with mouse, finger or keyboard on a canvas; calls `changed` after each stroke. */
class Pad {
  constructor(canvas, changed) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d", { willReadFrequently: true });
    this.changed = changed;
    this.pen = { x: 140, y: 140, down: false };
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      this.at = this.place(event);
      this.line(this.at);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!this.at) return;
      for (const each of event.getCoalescedEvents?.() ?? [event]) this.line(this.place(each));
    });
    for (const name of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(name, () => {
        this.at = null;
      });
    }
    canvas.addEventListener("keydown", (event) => this.key(event));
  }

  place(event) {
    const box = this.canvas.getBoundingClientRect();
    const scale = this.canvas.width / box.width;
    return { x: (event.clientX - box.left) * scale, y: (event.clientY - box.top) * scale };
  }

  line(to) {
    const { context } = this;
    context.lineWidth = 22;
    context.lineCap = context.lineJoin = "round";
    context.beginPath();
    context.moveTo(this.at.x, this.at.y);
    context.lineTo(to.x, to.y + 0.01); // a point is drawn, too
    context.stroke();
    this.at = to;
    this.changed();
  }

  key(event) {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (event.key === " ") this.pen.down = !this.pen.down;
    else if (event.key === "Delete" || event.key === "Backspace") this.clear();
    else if (event.key in moves) {
      const [dx, dy] = moves[event.key];
      const inside = (value) => Math.min(Math.max(value, 10), 270);
      const to = { x: inside(this.pen.x + 10 * dx), y: inside(this.pen.y + 10 * dy) };
      if (this.pen.down) {
        this.at = this.pen;
        this.line(to);
        this.at = null;
      }
      this.pen = { ...to, down: this.pen.down };
    } else return;
    event.preventDefault();
  }

  clear() {
    this.context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    this.changed();
  }

  show(digit) {
    const small = new OffscreenCanvas(SIDE, SIDE);
    const image = new ImageData(SIDE, SIDE);
    for (let i = 0; i < digit.length; i++) image.data[4 * i + 3] = 255 * digit[i];
    small.getContext("2d").putImageData(image, 0, 0);
    this.context.clearRect(0, 0, 280, 280);
    this.context.imageSmoothingQuality = "high";
    this.context.drawImage(small, 0, 0, 280, 280);
  }
}

export async function start(panel) {
  const status = new Status(panel, "One digit");
  const find = (name) => panel.querySelector(name);
  const bars = find(".bars");
  addBars(bars);
  const noise = normal(generator(0), SIDE * SIDE);

  const update = latest(
    status.guard(async (digit) => {
      drawDigit(find(".seen"), digit);
      const noisy = digit.map((value, i) =>
        Math.min(Math.max(value + NOISE_MEAN + level() * noise[i], 0), 1),
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
  const pad = new Pad(find(".pad"), () => {
    digit = centered(pad.canvas);
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
    button.addEventListener("click", () => take(number));
    find(".samples").append(button);
  }
  await take(3);
}
