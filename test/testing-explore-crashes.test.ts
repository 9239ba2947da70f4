/**
 * Hazard: an author of a format believes that it outlives crashes, and the crash engine agrees whatever the format
 * does. The format is the counter of docs/testing.md, right, and with each of its rules broken.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { crc32 } from "node:zlib";
import { type Memory, persist } from "../src/memory/index.ts";
import { type CrashTest, exploreCrashes, Violation } from "../src/testing/index.ts";

/** A counter in two slots of {number, CRC}: the slot with a right CRC and the higher number counts. */
class Counter {
  readonly #memory: Memory;

  constructor(memory: Memory) {
    this.#memory = memory;
    if (this.value === -1) throw new Error("neither slot has a right CRC");
  }

  get value(): number {
    return Math.max(...[0, 64].map((at) => valueOf(this.#memory.read(at, 8))));
  }

  increment(): void {
    const next = this.value + 1;
    const slot = 64 * (next % 2);
    this.#memory.fill(slot, encoded(next));
    persist(this.#memory, slot, 8);
  }
}

function encoded(value: number): Uint8Array {
  const words = Uint32Array.of(value, 0);
  words[1] = crc32(new Uint8Array(words.buffer, 0, 4));
  return new Uint8Array(words.buffer);
}

function valueOf(slot: Uint8Array): number {
  const view = new DataView(slot.buffer, slot.byteOffset);
  return view.getUint32(4, true) === crc32(slot.subarray(0, 4)) ? view.getUint32(0, true) : -1;
}

/** Seven increments were made. */
function startOfSeven(): Uint8Array {
  const image = new Uint8Array(128);
  image.set(encoded(6), 0);
  image.set(encoded(7), 64);
  return image;
}

const counterTest: CrashTest<Counter> = {
  start: startOfSeven(),
  open: (memory) => new Counter(memory),
  operate: (counter) => counter.increment(),
  check: (image) => ({ text: String(Math.max(valueOf(image.subarray(0, 8)), valueOf(image.subarray(64, 72)))) }),
};

test("a format that keeps its promise passes, and every torn slot was tried", () => {
  let states = 0;
  for (let seed = 1; seed <= 10; seed++) {
    const tally = exploreCrashes({ ...counterTest, seed });
    assert.equal(tally.operations, 2, "once for each model");
    states += tally.states;
  }
  assert.ok(states > 30, `${states} states`);
});

/** The counter with one rule broken. */
function broken(increment: (memory: Memory, value: number) => void): CrashTest<Counter> {
  class Broken extends Counter {
    readonly memory: Memory;

    constructor(memory: Memory) {
      super(memory);
      this.memory = memory;
    }

    override increment(): void {
      increment(this.memory, this.value);
    }
  }
  return { ...counterTest, open: (memory) => new Broken(memory) };
}

test("an operation that returns before it is durable is caught", () => {
  const unfenced = broken((memory, value) => {
    memory.fill(64 * ((value + 1) % 2), encoded(value + 1));
    memory.flush(64 * ((value + 1) % 2), 8);
  });
  assert.throws(() => exploreCrashes(unfenced), /after the operation: power cut .* not allowed/);
});

test("a slot that is overwritten while it counts is caught", () => {
  const inPlace = broken((memory, value) => {
    memory.fill(64 * (value % 2), encoded(value + 1));
    persist(memory, 64 * (value % 2), 8);
  });
  assert.throws(() => exploreCrashes(inPlace), /killed inside of a bulk store .* not allowed/);
});

test("two slots that are written at once are caught", () => {
  const both = broken((memory, value) => {
    const slots = new Uint8Array(72);
    for (const slot of [0, 64]) slots.set(encoded(value + 1), slot);
    memory.fill(0, slots);
    persist(memory, 0, slots.length);
  });
  // Which bytes of a torn store have landed is chosen at random.
  assert.throws(() => {
    for (let seed = 1; seed <= 20; seed++) exploreCrashes({ ...both, seed });
  }, Violation);
});

test("a recovery that cannot be interrupted is caught", () => {
  // It empties the slot that does not count, and then writes the one that does anew, in place.
  class Careless extends Counter {
    constructor(memory: Memory) {
      super(memory);
      const { value } = this;
      memory.zero(64 * ((value + 1) % 2), 8);
      memory.fill(64 * (value % 2), Uint8Array.of(0));
      memory.fill(64 * (value % 2), encoded(value));
      persist(memory, 0, 128);
    }
  }
  const careless = { ...counterTest, open: (memory: Memory) => new Careless(memory) };
  assert.throws(() => exploreCrashes({ ...careless, thoroughness: { nestedEvery: 1 } }), /in recovery/);
});

test("what the format and the checker say of an image must agree", () => {
  const lying = { ...counterTest, agree: (counter: Counter) => assert.notEqual(counter.value, 8) };
  assert.throws(() => exploreCrashes(lying), Violation);
});

test("the states between are allowed when they are named, and only then", () => {
  const twice = {
    ...counterTest,
    operate: (counter: Counter): void => {
      counter.increment();
      counter.increment();
    },
  };
  assert.throws(() => exploreCrashes(twice), Violation);
  assert.equal(exploreCrashes({ ...twice, between: ["8"] }).operations, 2);
});
