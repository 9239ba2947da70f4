/** Hazard: an event of another thread that is not what happened, so that states are judged which never were. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { EventLog } from "../src/testing/event-log.ts";
import type { MemoryEvent } from "../src/testing/index.ts";

const events: MemoryEvent[] = [
  { kind: "store", thread: 1, offset: 2 ** 31 + 8, bytes: Uint8Array.of(1, 2, 3, 4), atomic: true },
  { kind: "store", thread: 2, offset: 100, bytes: Uint8Array.of(5), atomic: false },
  { kind: "flush", thread: 2, offset: 64, lengthBytes: 512 },
  { kind: "fence", thread: 1 },
  { kind: "store", thread: 1, offset: 0, bytes: new Uint8Array(0), atomic: false },
];

test("events that several threads add are read as they were, in one order", () => {
  const ours = new EventLog();
  const theirs = new EventLog(ours.buffer);
  for (const event of events) (event.thread === 1 ? ours : theirs).add(event);
  assert.deepEqual(theirs.read(), events);
  assert.equal(ours.count, events.length);
});

test("events that were read keep their bytes when the log is used again", () => {
  const log = new EventLog();
  log.add(events[0]);
  const [first] = log.read();
  log.clear();
  assert.deepEqual(log.read(), []);
  log.add(events[1]);
  assert.deepEqual(first, events[0]);
});

test("a log that is full says so", () => {
  const log = new EventLog();
  const bytes = new Uint8Array(2 ** 20);
  assert.throws(() => {
    for (;;) log.add({ kind: "store", thread: 1, offset: 0, bytes, atomic: false });
  }, /has room/);
  assert.equal(log.count, 4);
});
