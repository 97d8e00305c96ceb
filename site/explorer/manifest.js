// What the build has written: files and their sizes, measured results, sample digits.
const response = await fetch(new URL("./manifest.json", import.meta.url));
export const manifest = await response.json();

const here = new Set(); // files that the page has fetched

/** The bytes that the start of a panel downloads. */
export function downloads(panel) {
  const files = manifest.panels[panel].filter((file) => !here.has(file));
  const own = files.reduce((sum, file) => sum + manifest.files[file], 0);
  const runtime = here.has("runtime") || manifest.withoutRuntime.includes(panel);
  return own + (runtime ? 0 : manifest.runtime);
}

/** Notes that a panel has its files. */
export function fetched(panel) {
  for (const file of manifest.panels[panel]) here.add(file);
  if (!manifest.withoutRuntime.includes(panel)) here.add("runtime");
}

/** The sample digit of a class: 28 x 28 in [0, 1]. */
export function sampleDigit(digit) {
  const bytes = atob(manifest.digits[digit]);
  return Float32Array.from(bytes, (byte) => byte.charCodeAt(0) / 255);
}
