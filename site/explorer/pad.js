// A canvas on which the reader draws a digit.

const SIDE = 28;
const LEAST_INK = 8; // of 255
const LEAST_PIXELS = 40; // a smaller drawing is a dot, not a digit

/**
 * Brings a drawing into the form of MNIST: the longer side 20 pixels, the center of mass in the
 * middle of 28 x 28.
 * @param {HTMLCanvasElement} pad the drawing, its opacity the ink
 * @returns {Float32Array?} null without a drawing
 */
export function centered(pad) {
  const { width, height } = pad;
  const pixels = pad.getContext("2d").getImageData(0, 0, width, height).data;
  let [left, top, right, bottom] = [width, height, -1, -1];
  let [mass, x, y, inked] = [0, 0, 0, 0];
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      const ink = pixels[4 * (row * width + column) + 3];
      if (ink < LEAST_INK) continue;
      inked += 1;
      left = Math.min(left, column);
      right = Math.max(right, column);
      top = Math.min(top, row);
      bottom = Math.max(bottom, row);
      mass += ink;
      x += ink * (column + 0.5);
      y += ink * (row + 0.5);
    }
  }
  if (inked < LEAST_PIXELS) return null;
  const digit = new Float32Array(SIDE * SIDE);
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

/** Draws with mouse, finger or keyboard on a canvas; calls `changed` with the centered digit. */
export class Pad {
  constructor(canvas, changed) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d", { willReadFrequently: true });
    this.changed = () => changed(centered(canvas));
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
