/**
 * Hazard: an operation that failed half-way and is not noticed: what is built on it is lost or mixed up. Rule 7: every
 * operation completes or poisons the handle, and what is then opened again is the state before or after.
 */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { isPerdureError } from "../src/base/index.ts";
import { PageRegion } from "../src/region/index.ts";
import { type FailingCall, FailingMemory, Recording, RecordingMemory } from "../src/testing/index.ts";
import { checkImage } from "./crash/checker.ts";
import * as operations from "./crash/operations.ts";
import { World } from "./crash/world.ts";
import { formattedImage, refusal } from "./support/region.ts";

type Operation = operations.Operation;

/** What is there before the operation that fails; nearly full below the mark, so that the mark is raised, too. */
const groundwork: readonly Operation[] = [
  operations.create("ann", 300),
  operations.create("bob", 300),
  ...[0, 1, 2, 3].map((index) => operations.write("ann", index, "both", 10 + index)),
  operations.write("bob", 0, "both", 20),
  operations.ensureVolatile("ann", 1, 30),
  operations.ensureRun("bob", 4, 2),
];

const subjects: readonly Operation[] = [
  operations.create("cid", 300),
  operations.createPending("cid", 300, "ann"),
  operations.write("ann", 0, "both", 1),
  operations.write("ann", 0, 1, 1),
  operations.write("ann", 9, 0, 1),
  operations.ensure("ann", 9),
  operations.free("ann", 2),
  operations.handOver("ann", 0, "bob", 9),
  operations.handOver("ann", 0, "bob", 0),
  operations.ensureRun("ann", 8, 2),
  operations.freeRun("bob", 4),
  operations.resize("ann", 2),
  operations.setAttribute("ann", 7),
  operations.ensureVolatile("ann", 9, 1),
  operations.keep("ann", 1),
  operations.diskWrite("ann", 1, 3, 77),
  operations.diskTrim("ann", 0, 3),
  operations.remove("bob"),
];

const calls: readonly FailingCall[] = ["fence", "fill", "commit"];

/** An image after the groundwork; its owner died. */
function groundImage(): { image: Uint8Array; world: World } {
  const recording = new Recording(formattedImage(512, { chunkPages: 32 }));
  const region = PageRegion.attach(new RecordingMemory(recording));
  const world = new World();
  for (const { run, steps } of groundwork) {
    run(region);
    for (const step of steps) step(world);
  }
  return { image: recording.image, world };
}

/** The worlds in which the operation may have ended. */
function outcomes(world: World, operation: Operation): string[] {
  const now = world.copy();
  const texts = [now.text()];
  for (const step of operation.steps) {
    step(now);
    texts.push(now.text());
  }
  return texts;
}

function refuseEverything(region: PageRegion): void {
  const acts: (() => unknown)[] = [
    () => region.instance("crash", "ann"),
    () => region.list(),
    () => region.info(),
    () => region.sync(),
    ...subjects.map(
      ({ run }) =>
        () =>
          run(region),
    ),
  ];
  for (const act of acts) assert.throws(act, refusal("POISONED"), String(act));
}

/** Lets the n-th call of a kind fail inside of the operation. @returns false when it did not come to that */
function failAt(image: Uint8Array, world: World, operation: Operation, call: FailingCall, nth: number): boolean {
  const context = `${operation.name}, ${call} ${nth}`;
  const recording = new Recording(image.slice());
  const backing = new RecordingMemory(recording);
  let failing: FailingMemory | undefined;
  // The failure is armed only when the region is open.
  const region = PageRegion.attach(switchable(backing, () => failing));
  operations.ensureVolatile("ann", 1, 30).run(region);
  failing = new FailingMemory(backing, call, nth);
  try {
    operation.run(region);
  } catch (error) {
    // An operation of several steps may find out at its next one.
    const isExpected = isPerdureError(error, "EIO") || isPerdureError(error, "POISONED");
    assert.ok(isExpected, `${context}: ${(error as Error).stack}`);
  }
  if (failing.failed) {
    refuseEverything(region);
    const left = recording.image.slice();
    region[Symbol.dispose]();
    assert.deepEqual(recording.image, left, `${context}: closing a poisoned region stores nothing`);
  }
  const next = new Recording(recording.image.slice());
  PageRegion.attach(new RecordingMemory(next));
  const allowed = outcomes(world, operation);
  const { text } = checkImage(next.image);
  if (failing.failed) assert.ok(allowed.includes(text), `${context}: got\n${text}\nallowed\n${allowed.join("\nor\n")}`);
  else assert.equal(text, allowed.at(-1), context);
  return failing.failed;
}

/** A memory whose calls go to what `other` gives, or to the backing when it gives nothing. */
function switchable(backing: RecordingMemory, other: () => FailingMemory | undefined): RecordingMemory {
  return new Proxy(backing, {
    get(_target, key) {
      const memory = other() ?? backing;
      const value: unknown = Reflect.get(memory, key, memory);
      return typeof value === "function" ? (value.bind(memory) as unknown) : value;
    },
  });
}

describe("an operation that fails at any call of the memory", () => {
  const { image, world } = groundImage();
  for (const operation of subjects) {
    test(`poisons the handle, and opening again finds before or after: ${operation.name}`, () => {
      const failures = calls.map((call) => {
        let nth = 1;
        while (failAt(image, world, operation, call, nth)) nth++;
        return nth - 1;
      });
      assert.ok(failures[0] > 0, "every operation ends with a fence");
    });
  }
});

test("a publish that fails leaves the save whole or its pages where they were", () => {
  const ground = groundImage();
  const steps = [operations.createPending("cid", 300, "ann"), operations.savePage("ann", "cid", 2)];
  for (const call of calls) {
    for (let nth = 1, failed = true; failed; nth++) {
      const recording = new Recording(ground.image.slice());
      const backing = new RecordingMemory(recording);
      let failing: FailingMemory | undefined;
      const region = PageRegion.attach(switchable(backing, () => failing));
      const world = ground.world.copy();
      for (const { run, steps: changes } of steps) {
        run(region);
        for (const change of changes) change(world);
      }
      failing = new FailingMemory(backing, call, nth);
      const publish = operations.publish("cid");
      try {
        publish.run(region);
      } catch (error) {
        assert.ok(isPerdureError(error, "EIO"));
      }
      failed = failing.failed;
      const next = new Recording(recording.image.slice());
      PageRegion.attach(new RecordingMemory(next));
      assert.ok(outcomes(world, publish).includes(checkImage(next.image).text), `${call} ${nth}`);
    }
  }
});

test("a close that fails poisons the handle, and what is opened again is what was there", () => {
  const { image, world } = groundImage();
  for (const call of [...calls, "sync", "read"] as const) {
    for (let nth = 1, failed = true; failed; nth++) {
      const recording = new Recording(image.slice());
      const backing = new RecordingMemory(recording);
      let failing: FailingMemory | undefined;
      const region = PageRegion.attach(switchable(backing, () => failing));
      failing = new FailingMemory(backing, call, nth);
      try {
        region[Symbol.dispose]();
      } catch (error) {
        assert.ok(isPerdureError(error, "EIO"), String(error));
        refuseEverything(region);
        region[Symbol.dispose]();
      }
      failed = failing.failed;
      const next = new Recording(recording.image.slice());
      PageRegion.attach(new RecordingMemory(next));
      assert.equal(checkImage(next.image).text, world.text(), `${call} ${nth}`);
    }
  }
});

test("an open that fails at any call leaves an image that opens", () => {
  const { image, world } = groundImage();
  for (const call of [...calls, "read"] as const) {
    for (let nth = 1, failed = true; failed; nth++) {
      const recording = new Recording(image.slice());
      const failing = new FailingMemory(new RecordingMemory(recording), call, nth);
      try {
        PageRegion.attach(failing);
      } catch (error) {
        assert.ok(isPerdureError(error, "EIO"), String(error));
      }
      failed = failing.failed;
      const next = new Recording(recording.image.slice());
      PageRegion.attach(new RecordingMemory(next));
      assert.equal(checkImage(next.image).text, world.text(), `${call} ${nth}`);
    }
  }
});

test("a sync that fails poisons the handle: what it should have made durable may be gone", () => {
  const { image } = groundImage();
  const region = PageRegion.attach(new FailingMemory(new RecordingMemory(new Recording(image.slice())), "sync", 1));
  assert.throws(() => region.sync(), refusal("EIO"));
  refuseEverything(region);
});
