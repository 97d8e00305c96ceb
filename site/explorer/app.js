// Starts each panel when it comes near the window, and marks its entry in the contents.
import * as engine from "./engine.js";
import * as random from "./random.js";

// For the console, and for the tests: explorer.last.dcgan_mnist has inputs and outputs.
window.explorer = { run: engine.run, last: engine.last, random };

async function start(panel) {
  panel.dataset.state = "loading";
  try {
    const { start } = await import(`./panels/${panel.id}.js`);
    await start(panel);
    if (panel.dataset.state === "loading") panel.dataset.state = "ready";
  } catch (error) {
    panel.dataset.state = "error";
    panel.querySelector(".status").textContent = `This panel could not start: ${error.message}`;
  }
}

const near = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) {
      if (!isIntersecting) continue;
      near.unobserve(target);
      start(target);
    }
  },
  { rootMargin: "150px 0px" },
);

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

for (const panel of document.querySelectorAll(".panel")) {
  near.observe(panel);
  shown.observe(panel);
}
