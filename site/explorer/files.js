// Fetches what the build has compressed.

/** Fetches a file of the build, given without .gz, and unpacks it; returns its bytes. */
export async function unpacked(path) {
  const response = await fetch(new URL(`./${path}.gz`, import.meta.url));
  if (!response.ok) throw new Error(`${path}.gz is missing (${response.status})`);
  const bytes = new Uint8Array(await response.arrayBuffer());
  // A host that declares the compression has made the browser unpack the file already.
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes;
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** A length in bytes as text, such as 4.3 MB. */
export function size(bytes) {
  return bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} KB` : `${(bytes / 1e6).toFixed(1)} MB`;
}
