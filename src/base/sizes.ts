import { PerdureError } from "./errors.ts";

const UNITS = { "": 1, B: 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40, P: 2 ** 50 } as const;
const PATTERN = /^(\d+(?:\.\d+)?)\s*(?:(B)|([KMGTP])(?:i?B)?)?$/i;

/**
 * Reads a size as people write it: `4096`, `512M`, `512MiB`, `1.5G`. Units are powers of 1024.
 *
 * @returns the size in bytes
 * @throws EINVAL when the text is no size, or not a whole number of bytes below 2^53
 */
export function parseSize(text: string | number): number {
  if (typeof text === "number") return wholeBytes(text, String(text));
  const match = PATTERN.exec(text.trim());
  if (match === null) throw new PerdureError("EINVAL", `"${text}" is not a size: write it like 512M, 512MiB or 1.5G`);
  const unit = (match[3] ?? "").toUpperCase() as keyof typeof UNITS;
  return wholeBytes(Number(match[1]) * UNITS[unit], text);
}

function wholeBytes(value: number, text: string): number {
  if (Number.isSafeInteger(value) && value >= 0) return value;
  throw new PerdureError("EINVAL", `"${text}" is not a whole number of bytes between 0 and 2^53`);
}

const NAMES = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/** Writes a size that is compared with another one: in the largest unit in which it is whole, `1536 KiB`, `4095 B`. */
export function exactSize(bytes: number): string {
  let value = bytes;
  let unit = 0;
  for (; value >= 1024 && value % 1024 === 0 && unit < NAMES.length - 1; unit++) value /= 1024;
  return `${value} ${NAMES[unit]}`;
}

/** Writes a size for people: the largest unit that leaves at most one decimal exact enough to read, `512 MiB`. */
export function formatSize(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < NAMES.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${Number.isInteger(value) ? value : value.toFixed(1)} ${NAMES[unit]}`;
}
