// Starts a panel when the reader asks for it, and marks its entry in the contents.
import * as engine from "./engine.js";
import { size } from "./files.js";
import { downloads, fetched } from "./manifest.js";
import { addOwn } from "./own.js";
import * as random from "./random.js";
import { follow } from "./state.js";

// For the console, and for the tests: explorer.last.dcgan_mnist has inputs and outputs.
window.explorer = { run: engine.run, last: engine.last, random, start };

document.documentElement.classList.add("script");

const panels = [...document.querySelectorAll(".panel")];

/** Says next to each button how much its panel downloads. */
function showSizes() {
  for (const panel of panels) {
    const bytes = downloads(panel.id);
    panel.querySelector(".size").textContent = bytes ? `loads ${size(bytes)}` : "";
  }
}

/** Starts a panel, unless it runs already. */
async function start(panel) {
  if (panel.dataset.state) return;
  panel.dataset.state = "loading";
  panel.querySelector(".status").textContent = "Loading …";
  try {
    const { start } = await import(`./panels/${panel.id}.js`);
    await start(panel);
    follow(panel);
    addOwn(panel);
    if (panel.dataset.state === "loading") panel.dataset.state = "ready";
    fetched(panel.id);
    showSizes();
  } catch (error) {
    panel.dataset.state = "error";
    panel.querySelector(".status").textContent = `This panel could not start: ${error.message}`;
  }
}

for (const panel of panels) {
  panel.querySelector(".load").addEventListener("click", async () => {
    const starting = start(panel);
    panel.querySelector("h2").focus({ preventScroll: true }); // the button is gone
    await starting;
  });
}
showSizes();

const links = new Map();
for (const link of document.querySelectorAll("nav a")) links.set(link.hash.slice(1), link);
const shown = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) {
      if (!isIntersecting) continue;
      for (const [id, link] of links) {
        if (id === target.id) {
          link.setAttribute("aria-current", "true");
          link.parentElement.scrollTo({ left: link.offsetLeft - link.parentElement.clientWidth / 3 });
        } else link.removeAttribute("aria-current");
      }
    }
  },
  { rootMargin: "-45% 0px -45% 0px" },
);
for (const panel of panels) shown.observe(panel);
