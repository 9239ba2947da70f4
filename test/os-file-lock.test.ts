/**
 * Hazard: two writers of one region. The lock must hold against every other descriptor, outlast the closing of other
 * descriptors of the file, and end with its holder, however that ends.
 */
import assert from "node:assert/strict";
import { closeSync, openSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { lockByte, SystemCallError } from "../src/os/index.ts";
import { memoryFolder } from "./support/cli.ts";

test("an exclusive lock keeps every other descriptor out until it is closed", (t) => {
  const path = join(memoryFolder(t), "file");
  writeFileSync(path, "x");
  const [first, second] = [openSync(path, "r+"), openSync(path, "r+")];
  assert.equal(lockByte(first, 0, "exclusive"), true);
  assert.equal(lockByte(first, 0, "exclusive"), true, "the holder may ask again");
  assert.equal(lockByte(second, 0, "exclusive"), false);
  assert.equal(lockByte(second, 0, "shared"), false);
  assert.equal(lockByte(second, 1, "exclusive"), true, "another byte is another lock");
  closeSync(first);
  assert.equal(lockByte(second, 0, "exclusive"), true);
  closeSync(second);
});

test("closing another descriptor of the file does not drop the lock", (t) => {
  const path = join(memoryFolder(t), "file");
  writeFileSync(path, "x");
  const [holder, other] = [openSync(path, "r+"), openSync(path, "r+")];
  assert.equal(lockByte(holder, 0, "exclusive"), true);
  // POSIX locks would be gone now: they belong to the process.
  closeSync(openSync(path, "r"));
  assert.equal(lockByte(other, 0, "exclusive"), false);
  closeSync(holder);
  closeSync(other);
});

test("readers share a byte, and cannot take the writer's", (t) => {
  const path = join(memoryFolder(t), "file");
  writeFileSync(path, "x");
  const [one, two] = [openSync(path, "r"), openSync(path, "r")];
  assert.equal(lockByte(one, 1, "shared"), true);
  assert.equal(lockByte(two, 1, "shared"), true);
  assert.throws(() => lockByte(one, 0, "exclusive"), { name: SystemCallError.name, code: "EBADF" });
  closeSync(one);
  closeSync(two);
});
