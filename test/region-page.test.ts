/** Hazard: a page that moves, or becomes another's, while a program has its bytes in hand. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { PerdureError } from "../src/base/index.ts";
import { RegionCore } from "../src/region/core.ts";
import { FrameWriter } from "../src/region/frame-writer.ts";
import { analyze, type Instance, PageRegion } from "../src/region/index.ts";
import { waiting } from "../src/region/locks.ts";
import { sealAgain } from "../src/region/seals.ts";
import { Recording, RecordingMemory } from "../src/testing/index.ts";
import { memoryOf } from "./support/images.ts";
import { afterClose, afterDeath, formattedImage, freshRegion, refusal } from "./support/region.ts";

test("what is stored in a page's bytes is there after a death, without any call", () => {
  const trial = freshRegion();
  using page = trial.region.instance("test", "a", { create: true }).ensure(42);
  page.bytes.set(Buffer.from("stored"));
  assert.equal(page.index, 42);
  assert.equal(page.bytes.length, 512);
  const found = afterDeath(trial).region.instance("test", "a").read(42);
  assert.equal(Buffer.from(found).toString("latin1", 0, 6), "stored");
});

test("what needs a held page answers EBUSY, and works when it is let go", () => {
  const { region } = freshRegion();
  const [a, b] = ["a", "b"].map((name) => region.instance("test", name, { create: true, sizeBytes: 100 * 512 }));
  const acts: ((instance: Instance) => unknown)[] = [
    (instance) => instance.write(7, Uint8Array.of(1)),
    (instance) => instance.free(7),
    (instance) => instance.resize(7 * 512),
    (instance) => instance.delete(),
    (instance) => instance.handOver(7, b, 3),
    (instance) => instance.handOver(8, instance, 7),
  ];
  a.write(8, Uint8Array.of(8));
  const page = a.ensure(7);
  page.bytes[0] = 55;
  for (const act of acts) assert.throws(() => act(a), refusal("EBUSY"), String(act));
  assert.throws(() => region[Symbol.dispose](), refusal("EBUSY"));
  assert.equal(page.bytes[0], 55, "the region is still open");
  page[Symbol.dispose]();
  a.write(7, Uint8Array.of(2));
  a.handOver(7, b, 3);
  b.handOver(3, a, 7);
  assert.equal(a.free(7), true);
  a.resize(7 * 512);
  a.delete();
  region[Symbol.dispose]();
});

test("a page held twice is held until both let it go", () => {
  const { region } = freshRegion();
  const instance = region.instance("test", "a", { create: true });
  const [first, second] = [instance.ensure(0), instance.get(0)];
  assert.equal(first.number, second.number);
  first[Symbol.dispose]();
  first[Symbol.dispose]();
  assert.throws(() => instance.free(0), refusal("EBUSY"));
  second[Symbol.dispose]();
  assert.equal(instance.free(0), true);
});

test("volatile pages are held, too", () => {
  const { region } = freshRegion();
  const instance = region.instance("test", "a", { create: true });
  const page = instance.ensureVolatile(0);
  assert.throws(() => instance.freeVolatile(0), refusal("EBUSY"));
  assert.throws(() => instance.keep(0), refusal("EBUSY"));
  page[Symbol.dispose]();
  instance.keep(0);
});

test("every page of a run is held with it", () => {
  const { region } = freshRegion();
  const instance = region.instance("test", "a", { create: true });
  const run = instance.ensureRun(4, 2);
  assert.equal(run.bytes.length, 4 * 512);
  const tail = instance.get(6);
  run[Symbol.dispose]();
  assert.throws(() => instance.freeRun(4), refusal("EBUSY"));
  tail[Symbol.dispose]();
  instance.freeRun(4);
});

test("a held page that cannot be sealed again, since its lock is never given back, is let go even so", (t) => {
  const memory = memoryOf(formattedImage(320, { checksums: true }));
  const core = RegionCore.open(memory, analyze(memory));
  const writer = new FrameWriter(memory, core, 1);
  const pages = [core.shape.firstPage, core.shape.firstPage + 1];
  for (const page of pages) core.pins.hold(page);
  core.names.words.fill(2);
  const { wait } = waiting;
  t.after(() => {
    waiting.wait = wait;
  });
  waiting.wait = () => {
    throw new PerdureError("POISONED", "whoever held it died");
  };
  assert.throws(() => sealAgain(writer, pages[0], 2), refusal("POISONED"));
  assert.deepEqual([core.pins.own, ...pages.map((page) => core.pins.has(page))], [0, false, false]);
});

test("a page that was let go, or whose region was closed, has no bytes and persists nothing", () => {
  const trial = freshRegion();
  const page = trial.region.instance("test", "a", { create: true }).ensure(0);
  page.persist();
  page[Symbol.dispose]();
  assert.throws(() => page.bytes, refusal("CLOSED"));
  assert.throws(() => page.persist(), refusal("CLOSED"));
  afterClose(trial);
  assert.throws(() => page.bytes, refusal("CLOSED"));
});

/** A memory in which somebody has his turn after the next look at a page. */
class ShownMemory extends RecordingMemory {
  afterPage: (() => void) | undefined;

  override bytes(offset: number, lengthBytes: number): Uint8Array {
    const found = super.bytes(offset, lengthBytes);
    const act = lengthBytes === 512 ? this.afterPage : undefined;
    if (act !== undefined) this.afterPage = undefined;
    act?.();
    return found;
  }
}

test("a page with a checksum that another thread begins to store into while it is read is read again", () => {
  const memory = new ShownMemory(new Recording(formattedImage(320, { checksums: true })));
  const region = PageRegion.attach(memory);
  const instance = region.instance("test", "a", { create: true });
  instance.write(0, Buffer.from("old"));
  memory.afterPage = () => {
    using page = instance.get(0);
    page.bytes.set(Buffer.from("new"));
  };
  assert.equal(Buffer.from(instance.read(0)).toString("latin1", 0, 3), "new");
});
