/** Hazard: a power model that believes a store durable too early, or forgets that lines land in any order. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { PowerModel, RecordingMemory, seeded } from "../src/testing/index.ts";

/** First words of the lines 0, 1, ... of every image that a power cut may leave after what `act` did. */
function outcomes(act: (memory: RecordingMemory) => void, lines = 2): string[] {
  const memory = RecordingMemory.blank(64 * lines);
  const model = new PowerModel(memory.recording.image.slice(), seeded(1), 1024);
  act(memory);
  for (const event of memory.recording.events) model.add(event);
  const found = Array.from(model.now(), (crash) => {
    const words = new Uint32Array(crash.bytes().buffer);
    return Array.from({ length: lines }, (_, line) => words[16 * line]).join(",");
  });
  return Array.from(new Set(found)).sort();
}

test("stores of one line land in order, lines in any", () => {
  const found = outcomes((memory) => {
    memory.commit32(0, 1);
    memory.commit32(64, 5);
    memory.commit32(0, 2);
  });
  assert.deepEqual(found, ["0,0", "0,5", "1,0", "1,5", "2,0", "2,5"]);
});

test("what was flushed and fenced is durable, a flush or a fence alone promises nothing", () => {
  const store = (memory: RecordingMemory): void => memory.commit32(0, 1);
  const after = (act: (memory: RecordingMemory) => void): string[] =>
    outcomes((memory) => {
      store(memory);
      act(memory);
    });
  assert.deepEqual(
    after((memory) => memory.flush(0, 4)),
    ["0,0", "1,0"],
  );
  assert.deepEqual(
    after((memory) => memory.fence()),
    ["0,0", "1,0"],
  );
  assert.deepEqual(
    after((memory) => memory.flush(64, 4)),
    ["0,0", "1,0"],
  );
  const persisted = after((memory) => {
    memory.flush(0, 4);
    memory.fence();
  });
  assert.deepEqual(persisted, ["1,0"]);
});

test("a fence makes durable only what the same thread had flushed, and only up to there", () => {
  const memory = RecordingMemory.blank(128);
  const other = new (memory.constructor as typeof RecordingMemory)(memory.recording, 2);
  const model = new PowerModel(memory.recording.image.slice(), seeded(1), 1024);
  memory.commit32(0, 1);
  memory.flush(0, 4);
  memory.commit32(0, 2);
  other.fence();
  for (const event of memory.recording.events) model.add(event);
  assert.equal(Array.from(model.now()).length, 3);
  model.add({ kind: "fence", thread: 1 });
  const words = Array.from(model.now(), (crash) => crash.bytes()[0]);
  assert.deepEqual(new Set(words), new Set([1, 2]));
});

test("with many lines the extremes and single lines are among the samples", () => {
  const found = outcomes((memory) => {
    for (let line = 0; line < 12; line++) memory.commit32(64 * line, 1);
  }, 12);
  const ones = (text: string): number => text.replaceAll(/[^1]/g, "").length;
  const counts = new Set(found.map(ones));
  for (const count of [0, 1, 11, 12]) assert.ok(counts.has(count), `${count} lines`);
  assert.ok(found.length > 40);
});

test("up to 4096 combinations are tried one and all, and more are sampled", () => {
  const count = (lines: number): number => {
    const memory = RecordingMemory.blank(64 * lines);
    for (let line = 0; line < lines; line++) memory.commit32(64 * line, 1);
    const model = new PowerModel(new Uint8Array(64 * lines), seeded(1));
    for (const event of memory.recording.events) model.add(event);
    return new Set(Array.from(model.now(), ({ key }) => key)).size;
  };
  assert.equal(count(12), 4096);
  assert.ok(count(13) < 100);
});

test("a fork goes its own way, with what is not durable yet", () => {
  const memory = RecordingMemory.blank(64);
  const model = new PowerModel(new Uint8Array(64), seeded(1));
  memory.commit32(0, 1);
  memory.flush(0, 4);
  for (const event of memory.recording.events) model.add(event);
  const fork = model.fork();
  fork.add({ kind: "fence", thread: 1 });
  assert.equal(Array.from(model.now()).length, 2);
  assert.equal(Array.from(fork.now()).length, 1);
  assert.equal(model.latest()[0], 1);
});

test("models have one key when the same may be left, and other keys when it may not", () => {
  const keyAfter = (act: (memory: RecordingMemory) => void): number => {
    const memory = RecordingMemory.blank(128);
    const model = new PowerModel(memory.recording.image.slice(), seeded(1));
    act(memory);
    for (const event of memory.recording.events) model.add(event);
    return model.key;
  };
  const persisted = (memory: RecordingMemory): void => {
    memory.flush(0, 4);
    memory.fence();
  };
  const acts: ((memory: RecordingMemory) => void)[] = [
    () => undefined,
    (memory) => [1, 2].forEach((value) => memory.commit32(0, value)),
    (memory) => [2, 1, 2].forEach((value) => memory.commit32(0, value)),
    (memory) => [1, 2, 1, 2].forEach((value) => memory.commit32(0, value)),
    // What was flushed counts, since a fence may come.
    (memory) => {
      memory.commit32(0, 1);
      memory.flush(0, 4);
      memory.commit32(0, 2);
    },
    (memory) => {
      memory.commit32(0, 2);
      persisted(memory);
    },
  ];
  assert.equal(new Set(acts.map(keyAfter)).size, acts.length);
  const roundabout = keyAfter((memory) => {
    memory.commit32(0, 1);
    persisted(memory);
    memory.commit32(0, 2);
    persisted(memory);
  });
  assert.equal(roundabout, keyAfter(acts[5]));
});
