// Draws arrays as pictures.

const SIDE = 28;

/** Draws one digit (28 x 28 in [0, 1]) as ink: the style sheet turns it to chalk in dark mode. */
export function drawDigit(canvas, data, offset = 0) {
  canvas.width = canvas.height = SIDE;
  const image = new ImageData(SIDE, SIDE);
  for (let i = 0; i < SIDE * SIDE; i++) image.data[4 * i + 3] = 255 * data[offset + i];
  canvas.getContext("2d").putImageData(image, 0, 0);
}

/** Draws digits (columns * columns, 28, 28) as one square picture. */
export function drawAtlas(canvas, data, columns) {
  canvas.width = canvas.height = columns * SIDE;
  const context = canvas.getContext("2d");
  const tile = new OffscreenCanvas(SIDE, SIDE);
  for (let i = 0; i < columns * columns; i++) {
    drawDigit(tile, data, i * SIDE * SIDE);
    context.drawImage(tile, (i % columns) * SIDE, Math.floor(i / columns) * SIDE);
  }
}

/** Draws a row of digits into `parent`, one canvas each. */
export function drawDigits(parent, data, label) {
  const count = data.length / (SIDE * SIDE);
  while (parent.children.length < count) {
    const tile = document.createElement("span");
    tile.className = "tile";
    tile.append(document.createElement("canvas"));
    parent.append(tile);
  }
  while (parent.children.length > count) parent.lastChild.remove();
  for (let i = 0; i < count; i++) {
    const canvas = parent.children[i].firstChild;
    canvas.className = "digit";
    drawDigit(canvas, data, i * SIDE * SIDE);
  }
  parent.setAttribute("role", "img");
  parent.setAttribute("aria-label", label);
}

/** Draws a square picture of 1 or 3 channels in [0, 1]. */
export function drawPicture(canvas, data, channels) {
  const side = Math.round(Math.sqrt(data.length / channels));
  canvas.width = canvas.height = side;
  canvas.style.imageRendering = side > 64 ? "auto" : "pixelated";
  const image = new ImageData(side, side);
  for (let i = 0; i < side * side; i++) {
    for (let c = 0; c < 3; c++) {
      image.data[4 * i + c] = 255 * data[channels * i + (channels === 3 ? c : 0)];
    }
    image.data[4 * i + 3] = 255;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

/** A color of the style sheet. */
export function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

/** Red, green, blue of a color of the style sheet, 0 to 255. */
export function rgb(name) {
  const context = new OffscreenCanvas(1, 1).getContext("2d");
  context.fillStyle = color(name);
  context.fillRect(0, 0, 1, 1);
  return context.getImageData(0, 0, 1, 1).data;
}

/** Fits the pixels of a canvas to its size on the screen; returns its context in CSS pixels. */
export function fit(canvas) {
  const { clientWidth: width, clientHeight: height } = canvas;
  const ratio = window.devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return { context, width, height };
}

/** Calls `draw` whenever the colors or the width of the page change. */
export function redraw(draw) {
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  window.addEventListener("resize", draw);
}
