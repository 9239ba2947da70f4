// Hazard: a page that is used again while the kernel still copies it to a client, who then reads another disk's data;
// or one that waits for a sender that is long gone, until there is no page left.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { FreePages } from "../src/region/free-pages.ts";
import { Senders } from "../src/region/senders.ts";
import { ThreadTable } from "../src/region/thread-table.ts";

/** Two threads of one region, as each of them sees the table; and the pages that were given out. */
function twoThreads(): { first: Senders; second: Senders; given: number[]; give: (page: number) => void } {
  const table = new ThreadTable();
  const other = new ThreadTable(table.buffer);
  const first = new Senders(table, table.enter(), true);
  const second = new Senders(other, other.enter(), true);
  const given: number[] = [];
  return { first, second, given, give: (page) => void given.push(page) };
}

describe("pages that are freed", () => {
  test("are free at once while nobody sends", () => {
    const { first, second } = twoThreads();
    assert.equal(first.holdsBack(7), false);
    second.enter();
    second.leave();
    assert.equal(first.holdsBack(8), false);
    assert.deepEqual([first.heldPages, second.heldPages], [0, 0]);
  });

  test("wait for whoever is sending then, and for nobody who begins later", () => {
    const { first, second, given, give } = twoThreads();
    second.enter();
    assert.equal(first.holdsBack(7), true);
    assert.equal(first.settle(give), 0);
    second.leave();
    second.enter();
    assert.equal(first.settle(give), 1);
    assert.deepEqual([given, first.heldPages], [[7], 0]);
  });

  test("wait for the thread that freed them, when that is sending, and for others that are when it has left", () => {
    const { first, second, given, give } = twoThreads();
    first.enter();
    assert.equal(first.holdsBack(7), true);
    assert.equal(first.settle(give), 0);
    second.enter();
    first.leave();
    assert.equal(first.settle(give), 0);
    second.leave();
    assert.equal(first.settle(give), 1);
    assert.deepEqual([given, first.heldPages], [[7], 0]);
  });

  test("wait until the outermost of nested sections is left", () => {
    const { first, second, given, give } = twoThreads();
    second.enter();
    second.enter();
    assert.equal(first.holdsBack(7), true);
    second.leave();
    first.settle(give);
    assert.deepEqual(given, []);
    second.leave();
    first.settle(give);
    assert.deepEqual(given, [7]);
  });

  test("of a younger section do not go with those of an older one", () => {
    const { first, second, given, give } = twoThreads();
    second.enter();
    first.holdsBack(1);
    first.settle(give);
    second.leave();
    second.enter();
    first.holdsBack(2);
    first.settle(give);
    assert.deepEqual(given, [1]);
    second.leave();
    first.settle(give);
    assert.deepEqual([given, first.heldPages], [[1, 2], 0]);
  });
});

describe("who finds no page", () => {
  test("waits for those that were held back, as soon as nobody sends", () => {
    const { first, second, given, give } = twoThreads();
    second.enter();
    first.holdsBack(7);
    second.leave();
    assert.equal(first.wait(give), true);
    assert.deepEqual(given, [7]);
    assert.equal(first.wait(give), false, "there is nothing to wait for");
  });

  test("never waits for itself, and gives up on a sender that does not come back", () => {
    const { first, second, give } = twoThreads();
    first.enter();
    first.holdsBack(7);
    assert.equal(first.wait(give), false);
    first.leave();
    second.enter();
    assert.equal(first.wait(give), false);
    second.leave();
    assert.equal(first.wait(give), true);
  });

  test("is told when another thread holds pages back, and when it does not any more", () => {
    const { first, second, give } = twoThreads();
    second.enter();
    second.holdsBack(7);
    second.leave();
    // The other thread does not settle: this one waits in vain, but it waits.
    assert.equal(first.wait(give), false);
    second.settle(give);
    assert.equal(first.wait(give), false);
  });
});

test("a thread that frees many pages and never looks again keeps but a few", () => {
  const { first, second } = twoThreads();
  const freePages = new FreePages(100_000);
  freePages.senders = first;
  for (let page = 1; page < 50_000; page++) {
    second.enter();
    freePages.release(page);
    second.leave();
  }
  assert.ok(first.heldPages <= 128, `${first.heldPages} are kept`);
  assert.equal(freePages.count, 49_999 - first.heldPages);
});

test("a thread that ends while it sends holds no page back for ever", async () => {
  const table = new ThreadTable();
  const senders = new Senders(table, table.enter(), true);
  const { Worker } = await import("node:worker_threads");
  const worker = new Worker(new URL("./support/thread-sends.js", import.meta.url), { workerData: table.buffer });
  await new Promise((resolve) => worker.once("message", resolve));
  assert.equal(senders.holdsBack(7), true);
  await worker.terminate();
  const given: number[] = [];
  assert.equal(
    senders.settle((page) => given.push(page)),
    0,
  );
  assert.deepEqual(table.bury(), []);
  senders.settle((page) => given.push(page));
  assert.deepEqual(given, [7]);
});
