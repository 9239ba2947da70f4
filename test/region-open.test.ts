/**
 * Hazard: opening is recovering, so whatever it does wrong is done to every region. What a close promised must be
 * believed only as long as it is true, and nothing of the machine or process that wrote may be needed.
 */
import assert from "node:assert/strict";
import { copyFileSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { Region } from "../src/index.ts";
import { analyze, createRegion, PageRegion } from "../src/region/index.ts";
import { Recording, RecordingMemory } from "../src/testing/index.ts";
import { checkImage } from "./crash/checker.ts";
import { Child } from "./support/child.ts";
import { memoryFolder } from "./support/cli.ts";
import { stateOf } from "./support/images.ts";
import { afterClose, afterDeath, freshRegion, openCopy, refusal } from "./support/region.ts";

const SIZE = 2 ** 20;
const work = (plan: ReturnType<typeof analyze>["plan"]): number =>
  [plan.heal, plan.free, plan.freeTails, plan.giveBack, plan.endRecords].reduce((sum, list) => sum + list.length, 0);

test("after a close there is nothing to recover, and after a recovery nothing more", () => {
  const trial = freshRegion();
  const instance = trial.region.instance("test", "a", { create: true });
  instance.ensureVolatile(0)[Symbol.dispose]();
  trial.region.instance("test", "b", { pending: true }).write(0, Uint8Array.of(1));
  const analyzed = (image: Uint8Array) => analyze(new RecordingMemory(new Recording(image.slice())));
  assert.ok(work(analyzed(trial.recording.image).plan) >= 3);
  const recovered = afterDeath(trial);
  assert.equal(work(analyzed(recovered.recording.image).plan), 0);
  checkImage(recovered.recording.image);
  const closed = afterClose(afterClose(recovered));
  assert.equal(work(analyzed(closed.recording.image).plan), 0);
  assert.deepEqual(closed.region.start.recovered, {
    losers: 0,
    orphans: 0,
    beyondSize: 0,
    volatile: 0,
    unfinished: 0,
  });
});

test("analyzing stores nothing", () => {
  const trial = freshRegion();
  trial.region.instance("test", "a", { pending: true }).write(0, Uint8Array.of(1));
  const memory = new RecordingMemory(new Recording(trial.recording.image.slice()));
  analyze(memory);
  assert.deepEqual(memory.recording.events, []);
  assert.equal(memory.stores, 0);
});

test("the state is open before anything else is stored, and closed after everything else", () => {
  const trial = freshRegion();
  trial.region.instance("test", "a", { create: true }).ensureVolatile(0)[Symbol.dispose]();
  const { recording, region } = afterClose(trial);
  const stores = recording.events.filter((event) => event.kind === "store");
  assert.equal(stores[0].offset, 512);
  assert.equal(stores[1].offset, 1024);
  assert.equal(stateOf(recording.image).state, 1);
  recording.events = [];
  region[Symbol.dispose]();
  const last = recording.events.filter((event) => event.kind === "store").slice(-2);
  assert.deepEqual(new Set(last.map(({ offset }) => offset)), new Set([512, 1024]));
  assert.equal(stateOf(recording.image).state, 2);
});

test("a damaged slot of the state record is healed from the other", () => {
  for (const slot of [512, 1024]) {
    const trial = freshRegion();
    trial.region[Symbol.dispose]();
    trial.recording.image[slot + 30] ^= 1;
    const next = openCopy(trial.recording.image);
    assert.equal(next.region.start.healed, 1);
    checkImage(next.recording.image);
  }
});

test("a closed region takes no operation, and may be closed again", async () => {
  const { region } = freshRegion();
  const instance = region.instance("test", "a", { create: true });
  await region.close();
  await region.close();
  const acts: (() => unknown)[] = [
    () => region.instance("test", "a"),
    () => region.list(),
    () => region.info(),
    () => region.sync(),
    () => instance.read(0),
    () => instance.write(0, Uint8Array.of(1)),
    () => instance.ensure(0),
    () => instance.free(0),
    () => instance.delete(),
    () => instance.resize(1),
    () => instance.setAttributes(new Uint8Array(1)),
    () => instance.ensureRun(0, 1),
    () => instance.handOver(0, instance, 1),
    () => Array.from(instance.indices()),
  ];
  for (const act of acts) assert.throws(act, refusal("CLOSED"), String(act));
});

describe("a region opened read-only", () => {
  test("is read and never changed, also when its owner died", async (t) => {
    const path = join(memoryFolder(t), "region");
    const owner = await Region.open(path, { create: true, size: SIZE });
    const instance = owner.instance("test", "a", { create: true });
    instance.write(0, Buffer.from("text"));
    instance.ensureVolatile(1)[Symbol.dispose]();
    copyFileSync(path, `${path}.dead`);
    await owner.close();
    for (const [file, reason] of [
      [path, "closed"],
      [`${path}.dead`, "owner-died"],
    ]) {
      const before = readFileSync(file);
      const region = await Region.open(file, { readOnly: true });
      assert.equal(region.start.reason, reason);
      const found = region.instance("test", "a");
      assert.equal(Buffer.from(found.read(0)).toString("latin1", 0, 4), "text");
      using page = found.get(0);
      page.bytes[0] = 1;
      page[Symbol.dispose]();
      await region.close();
      assert.ok(before.equals(readFileSync(file)), "not a byte was stored, not even through a view");
    }
  });

  test("refuses every operation that stores", async (t) => {
    const path = join(memoryFolder(t), "region");
    const owner = await Region.open(path, { create: true, size: SIZE });
    owner.instance("test", "a", { create: true }).write(0, Buffer.from("text"));
    owner.disks.open("pram0", { create: true, size: 4096 });
    await owner.close();
    const region = await Region.open(path, { readOnly: true });
    const instance = region.instance("test", "a");
    const disk = region.disks.open("pram0");
    const acts: (() => unknown)[] = [
      () => region.instance("test", "b", { create: true }),
      () => region.instance("test", "b", { pending: true }),
      () => instance.write(0, Uint8Array.of(1)),
      () => instance.ensure(0),
      () => instance.ensure(1),
      () => instance.ensureVolatile(1),
      () => instance.ensureRun(4, 1),
      () => instance.freeRun(0),
      () => instance.free(0),
      () => instance.handOver(0, instance, 1),
      () => instance.resize(0),
      () => instance.setAttributes(new Uint8Array(1)),
      () => instance.publish(),
      () => instance.delete(),
      () => disk.write(0, new Uint8Array(1)),
      () => disk.trim(0, 1),
      () => disk.zero(0, 1, { keepAllocated: true }),
      () => disk.grow(8192),
      () => disk.delete(),
    ];
    for (const act of acts) assert.throws(act, refusal("READ_ONLY"), String(act));
    assert.deepEqual([disk.readOnly, instance.has(0)], [true, true]);
    await region.close();
  });

  test("is not created", async (t) => {
    const path = join(memoryFolder(t), "region");
    await assert.rejects(Region.open(path, { readOnly: true, create: true, size: SIZE }), refusal("ENOENT"));
  });
});

describe("nothing of the process or machine that wrote is needed", () => {
  test("an image that was copied to another file opens there, in another process", async (t) => {
    const path = join(memoryFolder(t), "region");
    const region = await Region.open(path, { create: true, size: SIZE });
    region.instance("test", "a", { create: true }).write(0, Buffer.from("text"));
    copyFileSync(path, `${path}.copy`);
    await region.close();
    const child = new Child(t, ["open", `${path}.copy`]);
    assert.equal(await child.line(), "open recovered owner-died");
    assert.equal(await child.end(), 0);
    const copy = await Region.open(`${path}.copy`);
    assert.equal(copy.start.generation, 3);
    assert.equal(Buffer.from(copy.instance("test", "a").read(0)).toString("latin1", 0, 4), "text");
    await copy.close();
  });

  test("a file that grew keeps its region", async (t) => {
    const path = join(memoryFolder(t), "region");
    const region = await Region.open(path, { create: true, size: SIZE });
    const { pages } = region.info();
    await region.close();
    const image = new Uint8Array(3 * SIZE);
    image.set(readFileSync(path));
    assert.equal(openCopy(image).region.info().pages, pages);
  });
});

describe("creating", () => {
  test("makes what is not there, and opens what is", async (t) => {
    const path = join(memoryFolder(t), "region");
    const options = { create: true, size: "1MiB", pageSize: "8K" } as const;
    const first = await Region.open(path, options);
    assert.deepEqual([first.start.kind, first.pageBytes, first.info().pages], ["cold", 8192, 128]);
    assert.match(first.info().uuid, /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
    await first.close();
    const second = await Region.open(path, { ...options, size: "2MiB", pageSize: 512 });
    assert.deepEqual([second.start.kind, second.pageBytes, second.info().pages], ["warm", 8192, 128]);
    await second.close();
    assert.throws(() => createRegion(path, { size: SIZE }), refusal("EEXIST"));
  });

  test("formats a blank file, and refuses one that holds something", async (t) => {
    const folder = memoryFolder(t);
    const { writeFileSync } = await import("node:fs");
    const [blank, full] = [join(folder, "blank"), join(folder, "full")];
    writeFileSync(blank, new Uint8Array(SIZE), { mode: 0o600 });
    writeFileSync(full, "x".repeat(SIZE), { mode: 0o600 });
    await assert.rejects(Region.open(blank), refusal("UNFORMATTED"));
    await (await Region.open(blank, { create: true })).close();
    const before = readFileSync(full);
    await assert.rejects(Region.open(full, { create: true, size: SIZE }), refusal("FOREIGN_DATA"));
    assert.ok(before.equals(readFileSync(full)));
  });
});

test("counts agree after every kind of start", () => {
  let trial = freshRegion();
  const instance = trial.region.instance("test", "a", { create: true });
  for (let index = 0; index < 40; index++) instance.write(index % 25, Uint8Array.of(index));
  const { freePages } = trial.region.info();
  for (let k = 0; k < 4; k++) {
    trial = k % 2 === 0 ? afterDeath(trial) : afterClose(trial);
    assert.equal(trial.region.info().freePages, freePages);
    assert.equal(trial.region.list()[0].pages, 25);
    assert.equal(trial.region.info().instances, 1);
  }
  assert.ok(trial.region instanceof PageRegion);
});
