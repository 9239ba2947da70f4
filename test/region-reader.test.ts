/**
 * Hazard: a reader beside a writer is given bytes of somebody else, dies of SIGBUS at a hole, or calls a region corrupt
 * that is only at work.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { closeSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { checkRegion, Region } from "../src/index.ts";
import { Backing, MappedMemory } from "../src/memory/index.ts";
import { PageRegion } from "../src/region/index.ts";
import { memoryFolder } from "./support/cli.ts";
import { refusal } from "./support/region.ts";

const page = (value: number): Buffer => Buffer.alloc(4096, value);

test("a page that the writer has replaced since is refused, never another one's bytes", async (t) => {
  const path = join(memoryFolder(t), "region");
  const writer = await Region.open(path, { create: true, size: "4M" });
  const a = writer.instance("test", "a", { create: true });
  a.write(0, page(1));
  a.write(1, page(2));
  const reader = await Region.open(path, { readOnly: true });
  assert.deepEqual(reader.instance("test", "a").read(0), new Uint8Array(page(1)));
  a.write(0, page(3));
  const b = writer.instance("test", "b", { create: true });
  for (let index = 0; index < 900; index++) b.write(index, page(9));
  assert.throws(() => reader.instance("test", "a").read(0), refusal("EBUSY"));
  assert.deepEqual(reader.instance("test", "a").read(1), new Uint8Array(page(2)), "what stayed is read");
  await reader.close();
  for (let index = 0; index < 900; index++) b.free(index);
  await writer.close();
});

test("a page that a reader holds and the writer has replaced is refused, too", async (t) => {
  const path = join(memoryFolder(t), "region");
  const writer = await Region.open(path, { create: true, size: "4M" });
  const a = writer.instance("test", "a", { create: true });
  a.write(0, page(1));
  const reader = await Region.open(path, { readOnly: true });
  const held = reader.instance("test", "a").get(0);
  a.write(0, page(3));
  const b = writer.instance("test", "b", { create: true });
  for (let index = 0; index < 900; index++) b.write(index, page(9));
  assert.throws(() => held.bytes, refusal("EBUSY"));
  held[Symbol.dispose]();
  await reader.close();
  await writer.close();
});

for (const { name, trims } of [
  { name: "handed to the layer above", trims: false },
  { name: "laid over those of the layer above", trims: true },
]) {
  test(`what was trimmed does not come back for a reader when its masks are ${name}`, async (t) => {
    const path = join(memoryFolder(t), "region");
    const writer = await Region.open(path, { create: true, size: "4M" });
    const disk = writer.instance("test", "disk", { create: true });
    for (const index of [0, 1]) disk.write(index, page(1));
    disk.snapshot("bottom");
    disk.free(0);
    const middle = disk.snapshot("middle");
    const reader = await Region.open(path, { readOnly: true });
    const shown = reader.instance("test", "disk");
    assert.deepEqual(shown.read(0), new Uint8Array(page(0)));
    if (trims) disk.free(1);
    middle.purge();
    assert.deepEqual(disk.read(0), new Uint8Array(page(0)));
    if (trims) assert.throws(() => shown.read(0), refusal("EBUSY"));
    else assert.deepEqual(shown.read(0), new Uint8Array(page(0)));
    await reader.close();
    const again = await Region.open(path, { readOnly: true });
    assert.deepEqual(again.instance("test", "disk").read(0), new Uint8Array(page(0)));
    await again.close();
    await writer.close();
  });
}

/** A reader's memory in which somebody has his turn in the middle of every copy of a page. */
class HalvingMemory extends MappedMemory {
  between: () => void = () => undefined;

  override readInto(offset: number, target: Uint8Array): void {
    const half = target.length === 4096 ? 2048 : 0;
    super.readInto(offset, target.subarray(0, half));
    if (half > 0) this.between();
    super.readInto(offset + half, target.subarray(half));
  }
}

test("a page that comes back to its place while it is copied is not given out in halves", async (t) => {
  const path = join(memoryFolder(t), "region");
  const writer = await Region.open(path, { create: true, size: "256K" });
  const a = writer.instance("test", "a", { create: true });
  a.write(0, page(0));
  const place = a.get(0);
  place[Symbol.dispose]();
  const memory = new HalvingMemory([Backing.open(path, { readOnly: true })]);
  const reader = PageRegion.attach(memory);
  memory.between = () => {
    memory.between = () => undefined;
    for (let value = 1, now = -1; now !== place.number; value++) {
      a.write(0, page(value));
      const held = a.get(0);
      now = held.number;
      held[Symbol.dispose]();
    }
  };
  const copy = reader.instance("test", "a").read(0);
  assert.equal(copy[0], copy[4095]);
  await reader.close();
  await writer.close();
});

test("the bytes that a reader holds are a copy: stores into them change nothing", async (t) => {
  const path = join(memoryFolder(t), "region");
  const writer = await Region.open(path, { create: true, size: "4M" });
  writer.instance("test", "a", { create: true }).write(0, page(1));
  const reader = await Region.open(path, { readOnly: true });
  using held = reader.instance("test", "a").get(0);
  held.bytes.fill(7);
  assert.deepEqual(writer.instance("test", "a").read(0), new Uint8Array(page(1)));
  held[Symbol.dispose]();
  await reader.close();
  await writer.close();
});

test("a reader says whether a writer is there", async (t) => {
  const path = join(memoryFolder(t), "region");
  const writer = await Region.open(path, { create: true, size: "4M" });
  const beside = await Region.open(path, { readOnly: true });
  assert.deepEqual([beside.start.reason, beside.info().state], ["in-use", "open"]);
  assert.equal(beside.info().ownerPid, process.pid);
  await beside.close();
  await writer.close();
  const after = await Region.open(path, { readOnly: true });
  assert.deepEqual([after.start.reason, after.info().state], ["closed", "closed"]);
  await after.close();
});

test("two opens of one inherited descriptor keep each other out, and the lock ends with the close", async (t) => {
  const path = join(memoryFolder(t), "region");
  await (await Region.open(path, { create: true, size: "4M" })).close();
  const program = `
    import { Region } from ${JSON.stringify(new URL("../src/index.js", import.meta.url).href)};
    const region = await Region.open("fd:3");
    let second = "granted";
    try { await Region.open("fd:3"); } catch (error) { second = error.code; }
    await region.close();
    const again = await Region.open(process.argv[1]);
    await again.close();
    process.stdout.write(second);`;
  const fd = openSync(path, "r+");
  const child = spawnSync(process.execPath, ["--input-type=module", "-e", program, path], {
    stdio: ["ignore", "pipe", "inherit", fd],
    encoding: "utf8",
  });
  closeSync(fd);
  assert.deepEqual([child.status, child.stdout], [0, "LOCKED"]);
});

test("a check tells crash from corruption, beside a writer and without one, and stores nothing", async (t) => {
  const path = join(memoryFolder(t), "region");
  const writer = await Region.open(path, { create: true, size: "4M" });
  const a = writer.instance("test", "a", { create: true });
  a.write(0, page(1));
  a.ensureVolatile(0)[Symbol.dispose]();
  const beside = await checkRegion(path);
  assert.deepEqual(
    [beside.provisional, beside.findingCount, beside.instances.length],
    [false, 0, 1],
    "the writer does nothing",
  );
  await writer.close();
  const before = readFileSync(path);
  const after = await checkRegion(path);
  assert.deepEqual([after.provisional, after.findingCount, after.recovered.volatile], [false, 0, 1]);
  assert.deepEqual(readFileSync(path), before);
  before[4096 + 8 * 100] ^= 1;
  writeFileSync(path, before);
  const { findingCount, findings } = await checkRegion(path);
  assert.equal(findingCount, 2, "the entry and the checksum of its block");
  assert.deepEqual(
    findings.map(({ where, page: number }) => [where, number]),
    [
      ["checksums", 0],
      ["frame", 100],
    ],
  );
});
