/** Hazard: a size that is read as another one makes a disk of the wrong size. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { exactSize, formatSize, parseSize } from "../src/base/index.ts";
import { refusal } from "./support/region.ts";

test("sizes are read as people write them, in powers of 1024", () => {
  const sizes: [string, number][] = [
    ["0", 0],
    ["4096", 4096],
    ["512B", 512],
    ["1k", 1024],
    ["512M", 512 * 2 ** 20],
    ["512MiB", 512 * 2 ** 20],
    ["512mb", 512 * 2 ** 20],
    ["1.5G", 1.5 * 2 ** 30],
    [" 2 TiB ", 2 * 2 ** 40],
    ["7P", 7 * 2 ** 50],
  ];
  for (const [text, bytes] of sizes) assert.equal(parseSize(text), bytes, text);
  assert.equal(parseSize(4096), 4096);
});

test("sizes that are compared are written without a remainder, and read back as they were", () => {
  const sizes: [number, string][] = [
    [0, "0 B"],
    [1, "1 B"],
    [4095, "4095 B"],
    [4096, "4 KiB"],
    [1.5 * 2 ** 30, "1536 MiB"],
    [2 ** 50, "1 PiB"],
  ];
  for (const [bytes, text] of sizes) assert.equal(exactSize(bytes), text);
  fc.assert(fc.property(fc.maxSafeNat(), (bytes) => parseSize(exactSize(bytes)) === bytes));
});

test("what is no size is refused", () => {
  const texts = [
    "",
    "M",
    "-1",
    "1e3",
    "0x10",
    "1,5G",
    "1 2",
    "1MM",
    "12 apples",
    "0.3B",
    "8P1",
    "9007199254740992",
    "9P",
  ];
  for (const text of texts) assert.throws(() => parseSize(text), refusal("EINVAL"), text);
  for (const number of [-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53]) {
    assert.throws(() => parseSize(number), refusal("EINVAL"), String(number));
  }
});

test("a size that is written without rounding is read back the same", () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 1023 }), fc.integer({ min: 0, max: 4 }), (count, unit) => {
      const bytes = count * 1024 ** unit;
      assert.equal(parseSize(formatSize(bytes)), bytes);
    }),
  );
});

test("sizes are written with the largest unit and one decimal", () => {
  assert.equal(formatSize(0), "0 B");
  assert.equal(formatSize(1023), "1023 B");
  assert.equal(formatSize(1024), "1 KiB");
  assert.equal(formatSize(1.5 * 2 ** 30), "1.5 GiB");
  assert.equal(formatSize(2 ** 62), "4096 PiB");
});
