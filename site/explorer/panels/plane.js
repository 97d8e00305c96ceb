// Chapter 8: the decoder of a VAE over its plane of codes.
import { latest, tensor } from "../engine.js";
import { drawAtlas, drawDigit } from "../paint.js";
import { remember, remembered } from "../state.js";
import { Status, radios } from "../ui.js";

const EXTENT = 4; // codes from -4 to 4, as in figure 8.1.7
const GRID = 17;
const NETWORKS = [
  ["vae_mlp_mnist-decoder", "Dense layers"],
  ["vae_cnn_mnist-decoder", "Convolutions"],
];

export async function start(panel) {
  const status = new Status(panel, "One digit");
  const map = panel.querySelector(".map");
  const cross = panel.querySelector(".cross");
  let [model] = NETWORKS[0];
  let point = [0, 0];

  async function decode(codes) {
    const { outputs, ms } = await status.run(model, { codes: tensor(codes, 2) });
    return { data: outputs.output.data, ms };
  }

  const update = latest(
    status.guard(async () => {
      const started = performance.now();
      const { data, ms } = await decode(Float32Array.from(point));
      drawDigit(panel.querySelector(".decoded"), data);
      status.time({ "the network": ms, "from cross to picture": performance.now() - started });
    }),
  );

  const updateAtlas = latest(
    status.guard(async () => {
      const codes = new Float32Array(GRID * GRID * 2);
      for (let i = 0; i < GRID * GRID; i++) {
        const place = (index) => (2 * EXTENT * (index + 0.5)) / GRID - EXTENT;
        codes[2 * i] = place(i % GRID);
        codes[2 * i + 1] = -place(Math.floor(i / GRID));
      }
      drawAtlas(panel.querySelector(".atlas"), (await decode(codes)).data, GRID);
    }),
  );

  function move(x, y) {
    point = [x, y].map((value) => Math.min(Math.max(value, -EXTENT), EXTENT));
    cross.style.left = `${(50 * (point[0] + EXTENT)) / EXTENT}%`;
    cross.style.top = `${(50 * (EXTENT - point[1])) / EXTENT}%`;
    const text = point.map((value) => value.toFixed(2).replace("-", "−")).join(", ");
    panel.querySelector(".codes").textContent = `code ${text}`;
    return update();
  }

  /** Moves the cross for the reader. */
  function steer(x, y) {
    move(x, y);
    point.forEach((value, i) => remember(panel, "xy"[i], value.toFixed(2)));
  }

  function follow(event) {
    const box = map.getBoundingClientRect();
    steer(
      (2 * EXTENT * (event.clientX - box.left)) / box.width - EXTENT,
      EXTENT - (2 * EXTENT * (event.clientY - box.top)) / box.height,
    );
  }
  for (const name of ["pointerdown", "pointermove"]) map.addEventListener(name, follow);
  map.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
    if (!(event.key in moves)) return;
    event.preventDefault();
    const [dx, dy] = moves[event.key];
    steer(point[0] + 0.1 * dx, point[1] + 0.1 * dy);
  });
  radios(panel.querySelector(".radios"), NETWORKS, model, async (value) => {
    model = value;
    await updateAtlas();
    update();
  });
  panel.addEventListener("network", async () => {
    await updateAtlas();
    update();
  });
  await updateAtlas();
  await move(Number(remembered(panel, "x") ?? 0.4), Number(remembered(panel, "y") ?? -1.2));
}
