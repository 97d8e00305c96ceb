// Small parts that the panels share.
import { loaded, run } from "./engine.js";
import { size } from "./files.js";
import { manifest } from "./manifest.js";

/**
 * Returns a function that changes the text of an element once a second at most: a screen reader
 * reads each change of a live region. The newest text always appears.
 */
export function announcer(element) {
  let last = -Infinity;
  let timer = null;
  return (text) => {
    clearTimeout(timer);
    timer = setTimeout(
      () => {
        last = performance.now();
        element.textContent = text;
      },
      Math.max(0, last + 1000 - performance.now()),
    );
  };
}

/** Says below a panel what it does: loading, ready with a time, or an error. */
export class Status {
  /** @param {string} what begins the line with the times, such as "One digit" */
  constructor(panel, what) {
    this.panel = panel;
    this.what = what;
    this.element = panel.querySelector(".status");
    this.times = {};
    this.announce = announcer(this.element);
  }

  /** Runs networks one after the other, and says so while they are fetched. */
  async run(model, inputs) {
    if (!loaded(model)) {
      this.say(`Loading ${model}.onnx, ${size(manifest.files[`models/${model}.onnx`])} …`);
    }
    return run(model, inputs);
  }

  say(text) {
    this.announce(text);
  }

  /** Shows the milliseconds of each network, by name. */
  time(times) {
    Object.assign(this.times, times);
    const parts = Object.entries(this.times).map(
      ([name, ms]) => `${name} ${ms < 10 ? ms.toFixed(1) : Math.round(ms)}\u00a0ms`,
    );
    this.say(`${this.what}: ${parts.join(" · ")}`);
  }

  /** Wraps an update so that an error becomes a line in the panel. */
  guard(task) {
    return async (...args) => {
      try {
        await task(...args);
        if (this.panel.dataset.state === "error") this.panel.dataset.state = "ready";
      } catch (error) {
        this.panel.dataset.state = "error";
        this.say(`This panel could not run: ${error.message}`);
      }
    };
  }
}

/** Makes a row of radio buttons; calls `choose` with the value of the chosen one. */
export function radios(fieldset, options, chosen, choose) {
  for (const [value, text] of options) {
    const label = document.createElement("label");
    const input = document.createElement("input");
    input.type = "radio";
    input.name = fieldset.dataset.name;
    input.value = value;
    input.checked = value === chosen;
    input.addEventListener("change", () => choose(value));
    const span = document.createElement("span");
    span.textContent = text;
    label.append(input, span);
    fieldset.append(label);
  }
}

/** Shows the value of a slider and calls `changed` when it moves; returns a function for it. */
export function slider(input, changed) {
  const output = input.parentElement.querySelector("output");
  const show = () => {
    output.textContent = Number(input.value).toFixed(input.dataset.digits ?? 2);
  };
  input.addEventListener("input", () => {
    show();
    changed();
  });
  show();
  return () => Number(input.value);
}

/** Moves a slider to a value, as if by hand. */
export function moveSlider(input, value) {
  input.value = value;
  input.dispatchEvent(new Event("input"));
}

/** Makes a button start and stop `tick`, which is called for each frame that it has finished. */
export function player(button, names, tick) {
  let playing = false;
  let previous = 0;
  async function frame(now) {
    if (!playing) return;
    const seconds = Math.min((now - previous) / 1000, 0.1);
    previous = now;
    if ((await tick(seconds)) === false) set(false);
    if (playing) requestAnimationFrame(frame);
  }
  function set(value) {
    if (playing === value) return;
    playing = value;
    button.textContent = names[playing ? 1 : 0];
    button.setAttribute("aria-pressed", playing);
    if (playing) {
      previous = performance.now();
      requestAnimationFrame(frame);
    }
  }
  button.textContent = names[0];
  button.setAttribute("aria-pressed", "false");
  button.addEventListener("click", () => set(!playing));
  return set;
}
