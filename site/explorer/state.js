// What the reader has chosen, in the address of the page: a copied address shows the same.

const DELAY = 300; // milliseconds; browsers limit how often an address changes
const chosen = new URLSearchParams(location.search);
let timer = null;

/** A value of a panel that the address has, or null. */
export function remembered(panel, key) {
  return chosen.get(`${panel.id}.${key}`);
}

/** Writes a value of a panel into the address. */
export function remember(panel, key, value) {
  chosen.set(`${panel.id}.${key}`, value);
  clearTimeout(timer);
  timer = setTimeout(() => history.replaceState(null, "", `?${chosen}${location.hash}`), DELAY);
}

const keyOf = (input) => input.name || input.className;

/** Sets the controls of a panel as the address says, and writes their changes into it. */
export function follow(panel) {
  for (const input of panel.querySelectorAll("input:not([type=file])")) {
    const value = remembered(panel, keyOf(input));
    if (value === null) continue;
    const marked = input.type === "radio" || input.type === "checkbox";
    const on = input.type === "radio" ? input.value === value : value === "true";
    if (marked && on !== input.checked) input.click();
    else if (!marked && input.value !== value) {
      input.value = value;
      input.dispatchEvent(new Event("input", { bubbles: true }));
    }
  }
  panel.addEventListener("input", ({ target, isTrusted }) => {
    if (!isTrusted || target.type === "file" || target.tagName !== "INPUT") return;
    remember(panel, keyOf(target), target.type === "checkbox" ? target.checked : target.value);
  });
}
