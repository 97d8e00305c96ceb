// What the build has written: sizes of the networks, measured results, sample digits.
const response = await fetch(new URL("./manifest.json", import.meta.url));
export const manifest = await response.json();

/** The sample digit of a class: 28 x 28 in [0, 1]. */
export function sampleDigit(digit) {
  const bytes = atob(manifest.digits[digit]);
  return Float32Array.from(bytes, (byte) => byte.charCodeAt(0) / 255);
}
