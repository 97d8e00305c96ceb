// What the panels share in which a network learns: the worker, the controls and the weight file.
import { unpacked } from "./files.js";
import { manifest } from "./manifest.js";
import { announcer } from "./ui.js";

const RATES = [1, 3, 10, 30, Infinity]; // steps a second, by the speed slider
const trainings = new Set();

/** Makes a slider over a list of values; returns a function for the chosen one. */
function choice(parent, key, { label, values, value, text = String }, changed) {
  const element = document.createElement("label");
  element.className = "slider";
  const input = document.createElement("input");
  const output = document.createElement("output");
  Object.assign(input, { type: "range", className: key, min: 0, max: values.length - 1, step: 1 });
  input.value = values.indexOf(value);
  const show = () => {
    output.textContent = text(values[input.value]);
    input.setAttribute("aria-valuetext", output.textContent);
  };
  input.addEventListener("input", () => {
    show();
    changed();
  });
  show();
  element.append(`${label} `, input, output);
  parent.append(element);
  return () => values[input.value];
}

function button(parent, name, text, click) {
  const element = document.createElement("button");
  Object.assign(element, { type: "button", className: name, textContent: text });
  element.addEventListener("click", click);
  parent.append(element);
  return element;
}

/** Puts weights into the frame of a weight file, see write_frame in site/live_training.py. */
export function fillFrame({ size, arrays, pieces }, weights) {
  const file = new Uint8Array(size);
  for (const [offset, text] of pieces) {
    file.set(Uint8Array.from(atob(text), (byte) => byte.charCodeAt(0)), offset);
  }
  arrays.forEach(([offset, bytes], i) => {
    const numbers = Float32Array.from(weights[i]);
    if (numbers.byteLength !== bytes) throw new Error(`array ${i} has another size`);
    file.set(new Uint8Array(numbers.buffer), offset);
  });
  return file;
}

/** A network that learns in a worker of its own, with its controls. */
export class Live {
  /**
   * @param {HTMLElement} panel
   * @param {string} name of the experiment in the manifest
   * @param {Object} options
   *   sliders: {name of a setting: {label, values, value, text}}
   *   settings: further settings
   *   unit: what one step is called, such as "step" or "episode"
   *   show: function of each report
   *   file: function that returns {frame, name, command} of the weight file
   */
  constructor(panel, name, { sliders, settings = {}, unit, show, file }) {
    Object.assign(this, { panel, name, show, file, fixed: settings });
    this.status = panel.querySelector(".status");
    this.seed = 0;
    this.playing = false;
    this.say = announcer(this.status);
    const controls = panel.querySelector(".controls");
    controls.innerHTML = '<div class="row"></div><div class="sliders"></div>';
    const [row, slides] = controls.children;
    this.play = button(row, "play", "Train", () => this.toggle(!this.playing));
    this.play.setAttribute("aria-pressed", "false");
    button(row, "step", `One ${unit}`, () => {
      this.toggle(false);
      this.send("step");
    });
    button(row, "again", "Start again", () => this.restart());
    this.saving = button(row, "save", "Save weights", () => this.save());
    const changed = () => this.send("set", { settings: this.settings(), delay: this.delay() });
    this.choices = Object.entries(sliders).map(([key, about]) => [
      key,
      choice(slides, key, about, changed),
    ]);
    const text = (rate) => (rate === Infinity ? "full" : `${rate} a second`);
    const speed = { label: "Speed", values: RATES, value: Infinity, text };
    const rate = choice(row, "speed", speed, changed);
    this.delay = () => 1000 / rate();
    trainings.add(this);
  }

  settings() {
    const chosen = this.choices.map(([key, value]) => [key, value()]);
    return { ...this.fixed, ...Object.fromEntries(chosen) };
  }

  send(type, contents = {}) {
    this.worker.postMessage({ type, ...contents });
  }

  /** Starts the worker; resolves when it has drawn the first weights. */
  open() {
    this.worker = new Worker(new URL("./trainer.js", import.meta.url), { type: "module" });
    return new Promise((resolve, reject) => {
      this.worker.onerror = (event) => reject(new Error(event.message || "no worker"));
      this.worker.onmessage = ({ data }) => {
        if (data.kind === "failed") {
          this.toggle(false);
          this.panel.dataset.state = "error";
          this.status.textContent = `The training stopped: ${data.message}`;
          reject(new Error(data.message));
        } else if (data.kind === "weights") this.download(data.arrays);
        else {
          this.last = data;
          this.show(data);
          if (data.done) this.toggle(false);
          if (data.kind === "opened") resolve();
        }
      };
      const about = manifest.live[this.name];
      this.send("open", { name: this.name, about, seed: this.seed, settings: this.settings() });
    });
  }

  /** Starts or pauses the training, and pauses all others: they would share one processor. */
  toggle(playing) {
    if (playing === this.playing) return;
    this.playing = playing;
    this.play.textContent = playing ? "Pause" : "Train";
    this.play.setAttribute("aria-pressed", playing);
    if (playing) for (const other of trainings) if (other !== this) other.toggle(false);
    this.send(playing ? "play" : "pause");
  }

  /** Begins with new weights. */
  restart() {
    this.toggle(false);
    this.seed += 1;
    this.send("set", { settings: this.settings(), delay: this.delay() });
    this.send("restart", { seed: this.seed });
  }

  save() {
    this.toggle(false);
    this.send("weights");
  }

  async download(arrays) {
    const { frame, name, command } = this.file();
    const text = new TextDecoder().decode(await unpacked(`training/${frame}.json`));
    const file = new Blob([fillFrame(JSON.parse(text), arrays)]);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(file);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
    this.say(`Saved ${name}. Test it: python3 ${command}`);
  }
}
