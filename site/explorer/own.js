// Your own network instead of one of the page: a file that a script wrote with --export.
import { replace } from "./engine.js";
import { manifest } from "./manifest.js";

/** Adds a chooser of a file below a panel that runs networks. Files can also be dropped. */
export function addOwn(panel) {
  const models = manifest.panels[panel.id]
    .filter((file) => file.startsWith("models/"))
    .map((file) => file.slice("models/".length, -".onnx".length));
  if (!models.length) return;
  const details = document.createElement("details");
  details.className = "own";
  details.innerHTML = `<summary>Run your own network here</summary>
    <p>Train a network, write it with <code>--export=FILE</code>, and choose the file or drop it
    here. It stays on your machine.</p>
    <div class="row"><label>instead of <select></select></label>
    <label class="button">Choose a file <input type="file" accept=".onnx"></label></div>
    <p class="answer" role="status"></p>`;
  const select = details.querySelector("select");
  for (const model of models) select.add(new Option(model));
  const answer = details.querySelector(".answer");

  async function take(file) {
    details.open = true;
    try {
      await replace(select.value, await file.arrayBuffer());
      answer.textContent = `${file.name} runs instead of ${select.value}.`;
      panel.dispatchEvent(new Event("network"));
    } catch (error) {
      answer.textContent = `'${file.name}' does not fit: ${error.message}`;
    }
  }
  const input = details.querySelector("input");
  input.addEventListener("change", () => input.files.length && take(input.files[0]));
  details.addEventListener("dragover", (event) => event.preventDefault());
  details.addEventListener("drop", (event) => {
    event.preventDefault();
    if (event.dataTransfer.files.length) take(event.dataTransfer.files[0]);
  });
  panel.querySelector(".body").append(details);
}
