// Images as text, so that they can be kept in the repository: rows of 32 bytes that are not all zero, by their offset.

const ROW_BYTES = 32;

/** Writes an image: its length, then `offset: bytes` in hexadecimal, rows of zeroes left out. */
export function imageText(image: Uint8Array): string {
  const lines = [`bytes: ${image.length}`];
  for (let offset = 0; offset < image.length; offset += ROW_BYTES) {
    const row = image.subarray(offset, offset + ROW_BYTES);
    if (row.some((byte) => byte !== 0))
      lines.push(`${offset.toString(16).padStart(5, "0")}: ${Buffer.from(row).toString("hex")}`);
  }
  return `${lines.join("\n")}\n`;
}

/** Reads what `imageText` wrote. */
export function imageOf(text: string): Uint8Array {
  const [head, ...rows] = text.trimEnd().split("\n");
  const image = new Uint8Array(Number(head.replace("bytes: ", "")));
  for (const row of rows) {
    const [offset, bytes] = row.split(": ");
    image.set(Buffer.from(bytes, "hex"), Number.parseInt(offset, 16));
  }
  return image;
}
