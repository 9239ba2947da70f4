// Hazard: a thin region stores into a page that has no memory, and a full file system ends the process; a page in use
// is given back; memory that nobody uses is never given back.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { attachMemory, formatMemory } from "../src/format/index.ts";
import { isPerdureError } from "../src/index.ts";
import { kind, kindOf } from "../src/region/claim.ts";
import { readEntry } from "../src/region/frame-table.ts";
import { nativeFormat, PageRegion } from "../src/region/index.ts";
import {
  below,
  KillModel,
  type MemoryEvent,
  PowerModel,
  pick,
  type Random,
  RecordingMemory,
  seeded,
} from "../src/testing/index.ts";
import { Judge } from "./crash/judge.ts";
import { choose, create, filled, free, type Operation, pageBytes, write } from "./crash/operations.ts";
import { World } from "./crash/world.ts";
import { shapeOf, stateOf } from "./support/images.ts";
import { refusal } from "./support/region.ts";
import { seed } from "./support/seed.ts";
import { ThinMemory } from "./support/thin-memory.ts";

const regionPages = 320;
const chunkPages = 16;
const chunkBytes = chunkPages * pageBytes;
/** So many backed pages may be free: the reserve, and what keeps chunks from being given back in turns. */
const idlePages = 5 + 3 * chunkPages;

function thinMemory(markPages = 64): ThinMemory {
  const memory = ThinMemory.blankFile(regionPages * pageBytes, chunkBytes);
  formatMemory(memory, nativeFormat({ pageBytes, chunkPages: markPages, thin: true }), { force: true });
  return memory;
}

/** Pages that a claim names: they must be backed, whatever happens. */
function claimedPages(memory: ThinMemory): number[] {
  const shape = shapeOf(memory.recording.image);
  const { marks } = stateOf(memory.recording.image);
  const pages = Array.from({ length: marks[0] }, (_, page) => page).slice(shape.firstPage);
  return pages.filter((page) => kindOf(readEntry(memory, shape, page).claim) !== kind.free);
}

function assertBacked(memory: ThinMemory, label: string): void {
  const { tableOffset, checksumsOffset, checksums, lastPage } = shapeOf(memory.recording.image);
  const { marks } = stateOf(memory.recording.image);
  const holes = [...claimedPages(memory), lastPage].filter((page) => !memory.isBacked(page * pageBytes, pageBytes));
  assert.deepEqual(holes, [], `${label}: pages in use without memory`);
  assert.ok(memory.isBacked(0, tableOffset + 8 * marks[0]), `${label}: entries below the mark without memory`);
  assert.ok(memory.isBacked(checksumsOffset, 4 * checksums), `${label}: checksums without memory`);
}

describe("a thin region", () => {
  test("that is killed while it is formatted is formatted by the next one without force", () => {
    const format = nativeFormat({ pageBytes, thin: true });
    const killed = new Error("killed");
    let isDone = false;
    // The first store says that the memory is being formatted.
    for (let last = 1; !isDone; last++) {
      const memory = ThinMemory.sparseCopy(new Uint8Array(regionPages * pageBytes).fill(0xaa), chunkBytes);
      let stores = 0;
      memory.recording.before = (event) => {
        if (event.kind === "store" && stores++ === last) throw killed;
      };
      try {
        formatMemory(memory, format, { force: true });
        isDone = true;
      } catch (error) {
        assert.equal(error, killed);
      }
      memory.recording.before = undefined;
      if (!isDone) formatMemory(memory, format);
      attachMemory(memory).detach();
    }
  });

  test("holds little more than its metadata when it is made, and grows as it is written", () => {
    const memory = thinMemory();
    const metadata = memory.allocatedBytes;
    assert.ok(metadata < 12 * pageBytes, `${metadata} bytes`);
    const region = PageRegion.attach(memory);
    assert.equal(region.info().thin, true);
    const instance = region.instance("test", "one", { create: true });
    for (let index = 0; index < 100; index++) instance.write(index, filled(index, pageBytes));
    assert.ok(region.info().backedBytes >= metadata + 100 * pageBytes);
    assert.ok(region.info().backedBytes <= metadata + (100 + idlePages) * pageBytes);
  });

  test("gives memory back as pages are freed, and all of it when it is closed", () => {
    const memory = thinMemory();
    const empty = memory.allocatedBytes;
    const region = PageRegion.attach(memory);
    const instance = region.instance("test", "one", { create: true });
    const { freePages } = region.info();
    for (let index = 0; index < 200; index++) instance.write(index, filled(index, pageBytes));
    for (let index = 0; index < 200; index++) instance.free(index);
    assert.equal(region.info().freePages, freePages);
    assert.ok(memory.allocatedBytes <= empty + (idlePages + 3 * chunkPages) * pageBytes);
    instance.delete();
    region[Symbol.dispose]();
    assertBacked(memory, "closed");
    // The directory's page keeps its chunk, the mark its entries.
    assert.ok(memory.allocatedBytes <= empty + chunkBytes + 3 * pageBytes, `${memory.allocatedBytes} bytes`);
  });

  test("does not allocate and give back in turns while pages come and go at a border", () => {
    const memory = thinMemory();
    const region = PageRegion.attach(memory);
    const instance = region.instance("test", "one", { create: true });
    for (let filledPages = 1; filledPages < 120; filledPages++) {
      instance.write(filledPages, filled(1, pageBytes));
      const before = memory.calls.allocate + memory.calls.punch;
      for (let turn = 0; turn < 20; turn++) {
        instance.write(0, filled(turn, pageBytes));
        instance.free(0);
      }
      assert.ok(memory.calls.allocate + memory.calls.punch <= before + 2, `with ${filledPages} pages`);
    }
  });

  test("is ENOSPC on a full file system, and what it holds can be overwritten and freed", () => {
    const memory = thinMemory();
    const region = PageRegion.attach(memory);
    const instance = region.instance("test", "one", { create: true });
    for (let index = 0; index < 50; index++) instance.write(index, filled(index, pageBytes));
    memory.roomBlocks = 0;
    let index = 50;
    assert.throws(() => {
      for (; index < 200; index++) instance.write(index, filled(index, pageBytes));
    }, refusal("ENOSPC"));
    assert.ok(region.info().freePages > 100, "the region itself has room");
    for (let k = 0; k < index; k++) instance.write(k, filled(1000 + k, pageBytes));
    assert.throws(() => instance.ensureRun(210, 5), refusal("ENOSPC"));
    for (let k = 0; k < index; k++) assert.deepEqual(instance.read(k), filled(1000 + k, pageBytes));
    for (let k = 0; k < index; k++) instance.free(k);
    assert.ok(memory.roomBlocks > 0, "others can have it");
    memory.roomBlocks = Number.POSITIVE_INFINITY;
    using run = instance.ensureRun(64, 6);
    assert.equal(run.bytes.length, 64 * pageBytes);
    run[Symbol.dispose]();
    region[Symbol.dispose]();
  });

  test("gives every page that it counts as free, wherever the mark stands", () => {
    for (const markPages of [64, 56, 9]) {
      const region = PageRegion.attach(thinMemory(markPages));
      const instance = region.instance("test", "one", { create: true });
      const { freePages, reservePages } = region.info();
      for (const turn of [1, 2]) {
        let count = 0;
        assert.throws(() => {
          for (; ; count++) instance.write(count, filled(count, pageBytes));
        }, refusal("ENOSPC"));
        assert.equal(count, freePages - reservePages, `a mark that is raised by ${markPages} pages, turn ${turn}`);
        for (let index = 0; index < count; index++) instance.free(index);
      }
      region[Symbol.dispose]();
    }
  });

  test("is opened with the memory that it needs after a copy that left zeroes out, or not at all", () => {
    const memory = thinMemory();
    const region = PageRegion.attach(memory);
    const instance = region.instance("test", "zeroes", { create: true });
    for (let index = 0; index < 60; index++) instance.ensure(index)[Symbol.dispose]();
    region[Symbol.dispose]();
    const copy = ThinMemory.sparseCopy(memory.recording.image, chunkBytes);
    copy.roomBlocks = 10;
    assert.throws(() => PageRegion.attach(copy), refusal("ENOSPC"));
    assert.deepEqual(copy.recording.image, memory.recording.image);
    copy.roomBlocks = 200;
    const again = PageRegion.attach(copy);
    assertBacked(copy, "copied");
    assert.deepEqual(again.instance("test", "zeroes").read(59), new Uint8Array(pageBytes));
  });

  test("is an ordinary region to a program that knows nothing of holes", () => {
    const memory = thinMemory();
    const region = PageRegion.attach(memory);
    region.instance("test", "one", { create: true }).write(3, filled(3, pageBytes));
    region[Symbol.dispose]();
    const image = new RecordingMemory(memory.recording);
    const again = PageRegion.attach(image);
    assert.equal(again.start.kind, "warm");
    assert.deepEqual(again.instance("test", "one").read(3), filled(3, pageBytes));
    again[Symbol.dispose]();
  });

  test("is refused where there are no holes", () => {
    const memory = RecordingMemory.blank(regionPages * pageBytes);
    assert.throws(() => formatMemory(memory, nativeFormat({ pageBytes, thin: true })), refusal("ENODEV"));
  });
});

/** A random life of a thin region, whose file system is full now and then. Each operation is crashed everywhere. */
class Life {
  readonly #random: Random;
  readonly #judge: Judge;
  #memory: ThinMemory;
  #region: PageRegion;
  #world = new World();
  #kill: KillModel;
  #power: PowerModel;
  #value = 100;
  /** How often an operation was refused since the file system was full. */
  refused = 0;
  #crashes = 0;

  constructor(random: Random) {
    this.#random = random;
    this.#judge = new Judge(random);
    // The mark stands at a border of chunks, or inside of one.
    this.#memory = thinMemory(pick(random, [64, 56, 9]));
    this.#region = PageRegion.attach(this.#memory);
    this.#perform(create("ballast", 300));
    for (let index = below(random, 60); index > 0; index--) this.#perform(write("ballast", index, "both", 9));
    this.#kill = new KillModel(this.#memory.recording.recorded, random);
    this.#power = new PowerModel(this.#memory.recording.recorded, random);
    this.#memory.recording.events = [];
  }

  get states(): number {
    return this.#judge.tally.states;
  }

  live(operations: number, label: string): void {
    for (let k = 0; k < operations; k++) {
      const dice = this.#random();
      if (dice < 0.1) this.#memory.roomBlocks = this.#random() < 0.7 ? below(this.#random, 17) : 1000;
      if (dice > 0.95) this.#reopen(`${label}, operation ${k}`);
      else if (dice > 0.7) this.#writeOrFree(`${label}, operation ${k}`);
      else this.#operate(`${label}, operation ${k}`);
      assertBacked(this.#memory, `${label}, operation ${k}`);
    }
  }

  #perform(operation: Operation): void {
    operation.run(this.#region);
    for (const step of operation.steps) step(this.#world);
  }

  /** Many pages of the ballast at once: chunks come into use and fall empty. */
  #writeOrFree(label: string): void {
    const { pages } = this.#world.get("ballast");
    const isFree = this.#random() < 0.5;
    const first = below(this.#random, 260);
    const end = first + 1 + below(this.#random, 60);
    this.#memory.recording.events = [];
    try {
      for (let index = first; index < Math.min(end, 300); index++) {
        if (!isFree) this.#perform(write("ballast", index, "both", 9));
        else if (pages.has(index)) this.#perform(free("ballast", index));
      }
    } catch (error) {
      if (!isPerdureError(error, "ENOSPC")) throw new Error(label, { cause: error });
      this.refused++;
    }
    for (const event of this.#memory.recording.events) this.#add(event);
    for (const crash of this.#kill.now()) this.#judge.judge(crash, [this.#world.text()], label);
  }

  #add(event: MemoryEvent): void {
    this.#kill.add(event);
    this.#power.add(event);
  }

  #operate(label: string): void {
    const operation = choose(this.#random, this.#world, () => ++this.#value);
    if (operation === undefined) return;
    if (operation.steps.length > 1) {
      // A write of several blocks that is refused has written those before: what is tried here is something else.
      if (this.#region.info().freePages < 30) return;
      this.#memory.roomBlocks = 1000;
    }
    const { recording } = this.#memory;
    const worlds = [this.#world.copy()];
    recording.events = [];
    try {
      operation.run(this.#region);
      for (const step of operation.steps) {
        step(this.#world);
        worlds.push(this.#world.copy());
      }
    } catch (error) {
      if (!isPerdureError(error, "ENOSPC")) throw new Error(`${label} ${operation.name}`, { cause: error });
      this.refused++;
    }
    this.#judgeAll(worlds, `${label} ${operation.name}`);
    const { lastPage, firstPage } = shapeOf(recording.image);
    const held = claimedPages(this.#memory).filter((page) => page !== lastPage).length;
    assert.equal(this.#region.info().freePages, lastPage - firstPage - held, `${label}: pages counted free`);
  }

  #judgeAll(worlds: readonly World[], label: string): void {
    const allowed = worlds.map((world) => world.text());
    const isCut = this.#random() < 0.2;
    for (const event of this.#memory.recording.events) {
      for (const crash of this.#kill.during(event)) {
        this.#judge.judge(crash, allowed, label);
        if (++this.#crashes % 100 === 0) this.#openCopy(crash.bytes(), label);
      }
      if (isCut) for (const crash of this.#power.during(event)) this.#judge.judge(crash, allowed, label);
      this.#add(event);
    }
  }

  /** The next owner of a copy without zeroes finds memory wherever it stores. */
  #openCopy(image: Uint8Array, label: string): void {
    const copy = ThinMemory.sparseCopy(image, chunkBytes);
    const region = PageRegion.attach(copy);
    assertBacked(copy, label);
    const extra = region.instance("crash", "extra", { create: true });
    assert.throws(() => {
      for (let index = 0; ; index++) extra.write(index, filled(index, pageBytes));
    }, refusal("ENOSPC"));
    extra.delete();
    region[Symbol.dispose]();
    assertBacked(copy, label);
  }

  #reopen(label: string): void {
    const { recording } = this.#memory;
    recording.events = [];
    const isKilled = this.#random() < 0.5;
    if (!isKilled) this.#region[Symbol.dispose]();
    this.#judgeAll([this.#world], `${label} close`);
    this.#memory.roomBlocks = 1000;
    this.#memory = isKilled ? ThinMemory.sparseCopy(recording.recorded, chunkBytes) : this.#memory;
    this.#kill = new KillModel(this.#memory.recording.recorded, this.#random);
    this.#power = new PowerModel(this.#memory.recording.recorded, this.#random);
    this.#memory.recording.events = [];
    this.#region = PageRegion.attach(this.#memory);
    this.#world = this.#world.reopened();
    this.#judgeAll([this.#world], `${label} reopened`);
  }
}

test(`no life of a thin region touches a hole, and every crash in it is recovered (PERDURE_SEED=${seed})`, (t) => {
  const random = seeded(seed);
  let states = 0;
  let refused = 0;
  for (let round = 0; states < 2500 || (refused === 0 && round < 50); round++) {
    const life = new Life(random);
    life.live(60, `seed ${seed}, round ${round}`);
    states += life.states;
    refused += life.refused;
  }
  t.diagnostic(JSON.stringify({ states, refused }));
  assert.ok(refused > 0);
});
