/**
 * Hazard: a mapping that outlives its region keeps memory, a descriptor and a lock; one that ends before its views do
 * ends the process.
 */
import assert from "node:assert/strict";
import { ftruncateSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { Region } from "../src/index.ts";
import { Backing, MappedMemory, persist, windowBytes } from "../src/memory/index.ts";
import { createMemfd } from "../src/os/index.ts";
import { Child } from "./support/child.ts";
import { memoryFolder } from "./support/cli.ts";
import { refusal } from "./support/region.ts";

const SIZE = 2 ** 20;
const mapped = (path: string): number => readFileSync("/proc/self/maps", "utf8").split(path).length - 1;
const descriptors = (): number => readdirSync("/proc/self/fd").length;

function memfdMemory(sizeBytes: number, options: { durable?: boolean } = {}): MappedMemory {
  const fd = createMemfd("perdure-test");
  ftruncateSync(fd, sizeBytes);
  return new MappedMemory([Backing.open(`fd:${fd}`)], options);
}

test("what is stored is read, through the mapping and through the file", () => {
  const memory = memfdMemory(SIZE);
  memory.commit32(8, 0xfffffffe);
  memory.commit64(16, 0x80000001, 0xc0000003);
  memory.or32(8, 1);
  memory.fill(100, Uint8Array.of(1, 2, 3));
  memory.zero(101, 1);
  persist(memory, 0, 128);
  memory.flushAll();
  memory.sync();
  assert.deepEqual(
    [8, 12, 16, 20].map((at) => memory.load32(at)),
    [0xffffffff, 0, 0x80000001, 0xc0000003],
  );
  assert.deepEqual(Array.from(memory.read(100, 3)), [1, 0, 3]);
  assert.deepEqual(Array.from(memory.bytes(100, 3)), [1, 0, 3]);
  memory.close();
});

test("accesses outside of the memory or across windows are refused", () => {
  const memory = memfdMemory(windowBytes + SIZE);
  assert.throws(() => memory.bytes(windowBytes - 1, 2), /straddle/);
  assert.throws(() => memory.fill(windowBytes - 1, new Uint8Array(2)), /straddle/);
  assert.throws(() => memory.read(windowBytes + SIZE - 1, 2), /one range/);
  assert.throws(() => memory.commit32(windowBytes + SIZE, 1), refusal("EINVAL"));
  memory.fill(windowBytes, Uint8Array.of(9));
  assert.equal(memory.read(windowBytes - 1, 2)[1], 9, "a read may cross windows");
  memory.close();
});

test("several backings are one flat space, each on a window of its own", () => {
  const sizes = [SIZE, 2 * SIZE];
  const backings = sizes.map((size) => {
    const fd = createMemfd("perdure-test");
    ftruncateSync(fd, size);
    return Backing.open(`fd:${fd}`);
  });
  const memory = new MappedMemory(backings);
  assert.deepEqual(
    memory.ranges.map(({ offset, lengthBytes }) => [offset, lengthBytes]),
    [
      [0, SIZE],
      [windowBytes, 2 * SIZE],
    ],
  );
  assert.equal(memory.sizeBytes, windowBytes + 2 * SIZE);
  memory.fill(windowBytes + 5, Uint8Array.of(7));
  assert.equal(memory.read(windowBytes + 5, 1)[0], 7);
  assert.throws(() => memory.read(SIZE, 1), refusal("EINVAL"));
  memory.close();
});

test("a closed memory has empty views, makes no new ones, and may be closed again", () => {
  const memory = memfdMemory(SIZE);
  const bytes = memory.bytes(0, 64);
  memory.close();
  memory.close();
  assert.equal(bytes.length, 0);
  assert.throws(() => memory.load32(0), refusal("CLOSED"));
  assert.throws(() => memory.bytes(0, 1), refusal("CLOSED"));
});

test("a region that was closed leaves no mapping and no descriptor", async (t) => {
  const path = join(memoryFolder(t), "region");
  const before = descriptors();
  const region = await Region.open(path, { create: true, size: SIZE });
  assert.ok(mapped(path) > 0 || mapped("(deleted)") > 0, "while open it is mapped");
  await region.close();
  assert.equal(mapped(path), 0);
  assert.equal(descriptors(), before);
});

test("two hundred opens and closes, and failed opens, leave nothing", async (t) => {
  const path = join(memoryFolder(t), "region");
  await (await Region.open(path, { create: true, size: SIZE })).close();
  const before = descriptors();
  for (let k = 0; k < 200; k++) {
    const region = await Region.open(path);
    assert.equal(region.start.generation, k + 2);
    if (k % 20 === 0) await assert.rejects(Region.open(path), refusal("LOCKED"));
    await region.close();
  }
  assert.equal(mapped(path), 0);
  assert.equal(descriptors(), before);
});

test("a stale view of a closed region throws or is empty, and never ends the process", async (t) => {
  const child = new Child(t, ["stale-views", join(memoryFolder(t), "region")]);
  const lines: string[] = [];
  for (let line = await child.line(); line !== undefined; line = await child.line()) lines.push(line);
  assert.equal(await child.end(), 0, lines.join("\n"));
  assert.equal(lines.at(-1), "alive");
  assert.ok(lines.length > 1 && lines.slice(0, -1).every((line) => /^(refused|touched 0 bytes)/.test(line)));
});

test("durable memory is written back at a fence, and refuses what cannot be", async (t) => {
  const memory = new MappedMemory([Backing.create(join(memoryFolder(t), "file"), SIZE)], { durable: true });
  memory.fill(5000, Uint8Array.of(1));
  memory.flush(5000, 1);
  memory.fence();
  assert.equal(memory.survival.powerLoss, false, "a tmpfs keeps nothing over a power cut, written back or not");
  memory.close();
  memory.fence();
});
