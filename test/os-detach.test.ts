/** Hazard: a view that outlives its mapping ends the process with a signal at the first touch. */
import assert from "node:assert/strict";
import { closeSync, ftruncateSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { detach } from "../src/os/detach.ts";
import { createMemfd, Mapping, SystemCallError } from "../src/os/index.ts";
import { viewAddress } from "../src/os/libc.ts";
import { refusal } from "./support/region.ts";

const SIZE = 65_536;

function memfd(name: string): number {
  const fd = createMemfd(name);
  ftruncateSync(fd, SIZE);
  return fd;
}

test("a detached buffer leaves every view of it empty", () => {
  const buffer = new ArrayBuffer(64);
  const [bytes, words, data] = [new Uint8Array(buffer, 8), new Int32Array(buffer), new DataView(buffer)];
  detach(buffer);
  assert.deepEqual([buffer.byteLength, bytes.length, words.length], [0, 0, 0]);
  assert.equal(bytes[0], undefined);
  assert.throws(() => data.getUint8(0), TypeError);
  assert.throws(() => Atomics.store(words, 0, 1));
});

test("disposing a mapping detaches its views and unmaps the memory", () => {
  const fd = memfd("detach-test");
  const mapping = new Mapping(fd, SIZE, "shared");
  const [whole, part] = [new Uint8Array(mapping.view(0, SIZE)), new Uint8Array(mapping.view(4096, 10))];
  whole[4096] = 7;
  assert.equal(part[0], 7, "views are of one memory");
  assert.match(readFileSync("/proc/self/maps", "utf8"), /memfd:detach-test/);
  mapping[Symbol.dispose]();
  mapping[Symbol.dispose]();
  assert.deepEqual([whole.length, part.length], [0, 0]);
  assert.doesNotMatch(readFileSync("/proc/self/maps", "utf8"), /memfd:detach-test/);
  assert.throws(() => mapping.view(0, 1), /open mapping/);
  closeSync(fd);
});

test("a private mapping never reaches the file", () => {
  const fd = memfd("private-test");
  using reader = new Mapping(fd, SIZE, "private");
  using writer = new Mapping(fd, SIZE, "shared");
  new Uint8Array(reader.view(0, 8)).fill(9);
  assert.deepEqual(Array.from(new Uint8Array(writer.view(0, 8))), new Array(8).fill(0));
  writer.sync(5, 100);
  closeSync(fd);
});

test("views outside of the mapping, of nothing and of the null address are refused", () => {
  const fd = memfd("bounds-test");
  using mapping = new Mapping(fd, SIZE, "shared");
  for (const [offset, length] of [
    [-1, 1],
    [0, 0],
    [0, SIZE + 1],
    [SIZE, 1],
  ]) {
    assert.throws(() => mapping.view(offset, length), /lies in its mapping/);
  }
  assert.throws(() => viewAddress(0n, 1), refusal("EINVAL"));
  closeSync(fd);
});

test("a mapping that the kernel refuses is an error that names call and errno", () => {
  assert.throws(() => new Mapping(1_000_000, 4096, "shared"), {
    name: SystemCallError.name,
    call: "mmap",
    code: "EBADF",
  });
  const fd = memfd("empty-test");
  assert.throws(() => new Mapping(fd, 0, "shared"), { code: "EINVAL" });
  closeSync(fd);
});
