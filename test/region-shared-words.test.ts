/** Hazard: a thread that goes on where another has poisoned, or that misses a change of the directory. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { SharedWords } from "../src/region/shared-words.ts";

/** The same words, as two threads have them. */
function pair(): [SharedWords, SharedWords] {
  const ours = new SharedWords();
  return [ours, new SharedWords(ours.buffer)];
}

test("a poison is seen by all, with its first reason", () => {
  const [ours, theirs] = pair();
  assert.equal(theirs.status, 0);
  ours.poison("the disk füll off");
  theirs.poison("something that came of it");
  assert.notEqual(theirs.status, 0);
  assert.ok(ours.isPoisoned && theirs.isPoisoned);
  assert.equal(theirs.reason, "the disk füll off");
});

test("a reason that is too long is cut", () => {
  const [ours, theirs] = pair();
  ours.poison("x".repeat(5000));
  assert.match(theirs.reason, /^x{100,1000}$/);
});

test("a close that is given up leaves nothing behind, one that ends stays", () => {
  const [ours, theirs] = pair();
  ours.beginClose();
  assert.notEqual(theirs.status, 0);
  ours.endClose(false);
  assert.equal(theirs.status, 0);
  ours.beginClose();
  ours.endClose(true);
  assert.ok(theirs.isClosed);
  theirs.waitWhileClosing();
});

test("sequences of two threads never meet", () => {
  const [ours, theirs] = pair();
  ours.sequence = 2 ** 40;
  assert.deepEqual(
    [ours, theirs, ours].map((words) => words.nextSequence() - 2 ** 40),
    [1, 2, 3],
  );
  assert.equal(theirs.sequence, 2 ** 40 + 3);
});

test("the owners that changed are told as long as they are known", () => {
  const [ours, theirs] = pair();
  const seen = theirs.directoryVersion;
  for (const owner of [5, 9, 5]) ours.countChange(owner);
  assert.deepEqual(theirs.changesBetween(seen, theirs.directoryVersion), new Set([5, 9]));
  assert.deepEqual(theirs.changesBetween(theirs.directoryVersion, theirs.directoryVersion), new Set());
  for (let k = 0; k < 1023; k++) ours.countChange(7);
  assert.equal(theirs.changesBetween(seen, theirs.directoryVersion), undefined);
});
