// Chapters 3 and 7: gray pictures get colors, by the autoencoder and by CycleGAN.
import { latest, tensor } from "../engine.js";
import { drawPicture } from "../paint.js";
import { remember, remembered } from "../state.js";
import { Status } from "../ui.js";

const SIDE = 32;
const LARGE = 256;
const GRAY = [0.299, 0.587, 0.114];
const NAMES = ["airplane", "horse", "rowing boat", "ship", "bird", "yacht", "brown horse", "frog"];

/** The context of a white canvas, on which transparent pixels look as on paper. */
function onWhite(canvas) {
  const context = canvas.getContext("2d");
  context.fillStyle = "white";
  context.fillRect(0, 0, canvas.width, canvas.height);
  return context;
}

/** The middle square of a picture as (side, side, 3) in [0, 1]. */
function square(image, side) {
  const least = Math.min(image.width, image.height);
  const [left, top] = [(image.width - least) / 2, (image.height - least) / 2];
  let source = image;
  let box = [left, top, least, least];
  // Halve it step by step: one large reduction would skip pixels.
  for (let size = least; size > 2 * side; ) {
    size = Math.ceil(size / 2);
    const half = new OffscreenCanvas(size, size);
    onWhite(half).drawImage(source, ...box, 0, 0, size, size);
    [source, box] = [half, [0, 0, size, size]];
  }
  const canvas = new OffscreenCanvas(side, side);
  const context = onWhite(canvas);
  context.imageSmoothingQuality = "high";
  context.drawImage(source, ...box, 0, 0, side, side);
  const { data } = context.getImageData(0, 0, side, side);
  const pixels = new Float32Array(side * side * 3);
  for (let i = 0; i < side * side; i++) {
    for (let c = 0; c < 3; c++) pixels[3 * i + c] = data[4 * i + c] / 255;
  }
  return pixels;
}

/** The luminance (side, side) of colors (side, side, 3). */
export function toGray(pixels) {
  return Float32Array.from(
    { length: pixels.length / 3 },
    (_, i) => GRAY[0] * pixels[3 * i] + GRAY[1] * pixels[3 * i + 1] + GRAY[2] * pixels[3 * i + 2],
  );
}

/** Lays the colors of a small picture (32, 32, 3) over a sharp gray one of any size. */
export function colorGray(gray, small) {
  const side = Math.sqrt(gray.length);
  const smallGray = toGray(small);
  const result = new Float32Array(3 * gray.length);
  const chroma = (row, column, c) => {
    const i = row * SIDE + column;
    return small[3 * i + c] - smallGray[i];
  };
  // Bilinear, between the centers of the small pixels.
  const at = Array.from({ length: side }, (_, i) => {
    const place = Math.min(Math.max(((i + 0.5) * SIDE) / side - 0.5, 0), SIDE - 1);
    const first = Math.min(Math.floor(place), SIDE - 2);
    return [first, place - first];
  });
  for (let y = 0; y < side; y++) {
    const [row, v] = at[y];
    for (let x = 0; x < side; x++) {
      const [column, u] = at[x];
      const i = y * side + x;
      for (let c = 0; c < 3; c++) {
        const above = (1 - u) * chroma(row, column, c) + u * chroma(row, column + 1, c);
        const below = (1 - u) * chroma(row + 1, column, c) + u * chroma(row + 1, column + 1, c);
        result[3 * i + c] = Math.min(Math.max(gray[i] + (1 - v) * above + v * below, 0), 1);
      }
    }
  }
  return result;
}

export async function start(panel) {
  const status = new Status(panel, "One picture");
  const canvas = (name) => panel.querySelector(`.${name}`);

  const update = latest(
    status.guard(async (image) => {
      const small = square(image, SIDE);
      const large = square(image, Math.min(LARGE, image.width, image.height));
      const gray = toGray(small);
      const largeGray = toGray(large);
      drawPicture(canvas("truth"), large, 3);
      drawPicture(canvas("gray"), gray, 1);
      for (const [name, model, target] of [
        ["autoencoder", "colorized_ae", "auto"],
        ["CycleGAN", "cyclegan_cifar10-g_target", "cycle"],
      ]) {
        const { outputs, ms } = await status.run(model, { images: tensor(gray, SIDE, SIDE, 1) });
        drawPicture(canvas(target), outputs.output.data, 3);
        drawPicture(canvas(`${target}-full`), colorGray(largeGray, outputs.output.data), 3);
        status.time({ [name]: ms });
      }
      const inputs = { images: tensor(small, SIDE, SIDE, 3) };
      const { outputs, ms } = await status.run("cyclegan_cifar10-g_source", inputs);
      drawPicture(canvas("back"), outputs.output.data, 1);
      status.time({ "color to gray": ms });
    }),
  );

  const buttons = [];
  let shown = null;
  function choose(image, button) {
    for (const each of buttons) each.setAttribute("aria-pressed", each === button);
    shown = image;
    return update(image);
  }

  const file = panel.querySelector(".file");
  file.addEventListener(
    "change",
    status.guard(async () => {
      if (!file.files.length) return;
      let image;
      try {
        image = await createImageBitmap(file.files[0]);
      } catch {
        throw new Error(`'${file.files[0].name}' is not a picture that this browser opens`);
      }
      await choose(image, null);
    }),
  );

  const response = await fetch(new URL("../photos.png", import.meta.url));
  const sprite = await createImageBitmap(await response.blob());
  const photos = await Promise.all(
    NAMES.map((_, i) => createImageBitmap(sprite, i * SIDE, 0, SIDE, SIDE)),
  );
  photos.forEach((photo, i) => {
    const button = document.createElement("button");
    button.type = "button";
    button.setAttribute("aria-label", NAMES[i]);
    const small = document.createElement("canvas");
    drawPicture(small, square(photo, SIDE), 3);
    button.append(small);
    button.addEventListener("click", () => {
      remember(panel, "photo", i);
      choose(photo, button);
    });
    buttons.push(button);
    panel.querySelector(".photos").append(button);
  });
  panel.addEventListener("network", () => update(shown));
  const first = remembered(panel, "photo") ?? 2;
  await choose(photos[first], buttons[first]);
}
