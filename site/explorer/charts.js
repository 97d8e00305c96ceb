// Curves of a training.
import { color, fit } from "./paint.js";

const LEFT = 44;
const BOTTOM = 20;

/**
 * Draws curves over the number of epochs or episodes.
 * @param {HTMLCanvasElement} canvas
 * @param {Object[]} series {values, color: name in the style sheet, faint: boolean}
 * @param {Object} axis {low, high: fixed limits, if any; zoom: the axis need not begin at 0;
 *   digits; x: what the horizontal axis counts}
 */
export function drawChart(canvas, series, { low, high, zoom, digits = 0, x = "epoch" }) {
  const { context, width, height } = fit(canvas);
  const all = series.flatMap(({ values }) => values);
  const count = Math.max(...series.map(({ values }) => values.length), 1);
  const bottom = low ?? (zoom && count > 1 ? Math.min(...all) : Math.min(...all, 0));
  const top = high ?? Math.max(...all, bottom + 1e-9);
  const across = (i) => LEFT + (width - LEFT - 8) * (count > 1 ? i / (count - 1) : 1);
  const up = (value) => {
    const share = Math.min(Math.max((value - bottom) / (top - bottom || 1), 0), 1);
    return 8 + (height - BOTTOM - 8) * (1 - share);
  };
  context.font = `12px ${color("sans")}`;
  context.fillStyle = color("soft");
  context.strokeStyle = color("line");
  context.textAlign = "right";
  context.textBaseline = "middle";
  for (const value of [bottom, (bottom + top) / 2, top]) {
    context.beginPath();
    context.moveTo(LEFT, up(value));
    context.lineTo(width - 8, up(value));
    context.stroke();
    if (all.length) context.fillText(value.toFixed(digits).replace("-", "−"), LEFT - 6, up(value));
  }
  context.fillText(`${count} ${count === 1 ? x : `${x}s`}`, width - 8, height - 7);
  for (const { values, color: name, faint } of series) {
    context.beginPath();
    const stride = Math.max(1, Math.floor(values.length / width));
    for (let i = 0; i < values.length; i += stride) context.lineTo(across(i), up(values[i]));
    if (values.length) context.lineTo(across(values.length - 1), up(values.at(-1)));
    context.strokeStyle = color(name);
    context.globalAlpha = faint ? 0.35 : 1;
    context.lineWidth = faint ? 1 : 2;
    context.stroke();
    context.globalAlpha = 1;
    if (values.length === 1) {
      context.fillStyle = color(name);
      context.fillRect(across(0) - 3, up(values[0]) - 3, 6, 6);
    }
  }
}
