// The probabilities of the ten digits as bars.

/** Adds a row of ten bars. */
export function addBars(parent, name, model) {
  const columns = Array.from(
    { length: 10 },
    (_, digit) =>
      `<div class="column"><div class="well"><div class="bar" style="height:0"></div></div>${digit}</div>`,
  );
  parent.insertAdjacentHTML(
    "beforeend",
    `<div class="classifier" data-model="${model}"><span class="name">${name}</span>` +
      `<div class="columns" aria-hidden="true">${columns.join("")}</div><span class="verdict"></span></div>`,
  );
}

/** Shows the probabilities of a classifier, or none for an empty drawing. */
export function showBars(parent, model, probabilities) {
  const row = parent.querySelector(`[data-model="${model}"]`);
  row.querySelectorAll(".bar").forEach((bar, digit) => {
    bar.style.height = probabilities ? `${100 * probabilities[digit]}%` : 0;
  });
  const verdict = row.querySelector(".verdict");
  if (!probabilities) verdict.textContent = "no digit";
  else {
    const best = probabilities.indexOf(Math.max(...probabilities));
    verdict.innerHTML = `<b>${best}</b> ${(100 * probabilities[best]).toFixed(1)} %`;
  }
}
