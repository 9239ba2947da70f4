/** Hazard: an option for disks that is understood as another name or size. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { parseDisk, parseDiskSizes } from "../src/disk/index.ts";
import { refusal } from "./support/region.ts";

test("a disk is written as NAME=SIZE; the name may hold an equals sign", () => {
  assert.deepEqual(parseDisk("pram0=512M"), { name: "pram0", sizeBytes: 512 * 2 ** 20 });
  assert.deepEqual(parseDisk("a=b=1k"), { name: "a=b", sizeBytes: 1024 });
});

test("what is no disk is refused", () => {
  for (const text of ["", "pram0", "=1M", "pram0=", "pram0=x", "pram0=0", "pram0=100", "pram0=-512"]) {
    assert.throws(() => parseDisk(text), refusal("EINVAL"), text);
  }
});

test("a list of sizes makes pram0, pram1 and so on, as the proposal's module parameter does", () => {
  assert.deepEqual(parseDiskSizes("1M, 512,2GiB"), [
    { name: "pram0", sizeBytes: 2 ** 20 },
    { name: "pram1", sizeBytes: 512 },
    { name: "pram2", sizeBytes: 2 * 2 ** 30 },
  ]);
  for (const text of ["", "1M,", ",1M", "1M;2M"]) assert.throws(() => parseDiskSizes(text), refusal("EINVAL"), text);
});
