/** Hazard: an index that leads to another page, or a sparse instance that costs as much as its size. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { kind } from "../src/region/claim.ts";
import { ChunkArena } from "../src/region/page-table.ts";
import { indexOf } from "./support/thread-acts.ts";
import { inThread } from "./support/threads.ts";

const indices = fc.oneof(fc.nat(5000), fc.integer({ min: 2 ** 20 - 40, max: 2 ** 20 + 40 }));

test("a table gives what a map gives, in order and with its holes", () => {
  const property = fc.property(fc.array(fc.tuple(indices, fc.nat(9)), { maxLength: 60 }), (sets) => {
    const table = new ChunkArena(320).table(2, kind.data);
    const map = new Map<number, number>();
    for (const [index, page] of sets) {
      table.set(index, page);
      if (page === 0) map.delete(index);
      else map.set(index, page);
    }
    for (const [index] of sets) assert.equal(table.get(index), map.get(index) ?? 0);
    const found: number[] = [];
    const end = 2 ** 20 + 100;
    for (let index = table.next(0, end); index < end; index = table.next(index + 1, end)) found.push(index);
    assert.deepEqual(
      found,
      Array.from(map.keys()).sort((a, b) => a - b),
    );
    for (const index of map.keys()) {
      let hole = index;
      while (map.has(hole)) hole++;
      assert.equal(table.nextHole(index, end), hole);
    }
    const pages = found.map((index) => map.get(index));
    const half = found.length >>> 1;
    assert.deepEqual(table.takeOut(found[half] ?? 0, end), pages.slice(half));
    assert.deepEqual(table.takeOut(0, end), pages.slice(0, half));
    assert.equal(table.next(0, end), end);
  });
  fc.assert(property);
});

test("a search ends at its end, wherever that is", () => {
  const table = new ChunkArena(320).table(2, kind.data);
  table.set(1500, 7);
  assert.equal(table.next(0, 1500), 1500);
  assert.equal(table.next(0, 1501), 1500);
  assert.equal(table.next(1501, 1_000_000), 1_000_000);
  assert.equal(table.next(9, 9), 9);
  assert.equal(table.nextHole(1500, 1501), 1501);
});

test("the last index of all is an index like any other", () => {
  const table = new ChunkArena(320).table(2, kind.data);
  table.set(2 ** 32 - 1, 5);
  assert.equal(table.get(2 ** 32 - 1), 5);
  assert.equal(table.get(0), 0);
  assert.equal(table.next(0, 2 ** 32), 2 ** 32 - 1);
});

test("chunks of one arena are apart from each other", () => {
  const arena = new ChunkArena(320);
  const tables = Array.from({ length: 200 }, (_, k) => arena.table(2 + k, kind.data));
  tables.forEach((table, k) => {
    table.set(k, k + 1);
  });
  tables.forEach((table, k) => {
    assert.equal(table.get(k), k + 1);
    assert.equal(table.next(k + 1, 1024), 1024);
  });
});

test("pages far apart cost some hundred bytes each, and are found in order", () => {
  const arena = new ChunkArena(320);
  const table = arena.table(2, kind.data);
  const scattered = Array.from({ length: 3000 }, (_, k) => ((k * 2654435761) % 2 ** 32) >>> 0);
  scattered.forEach((index, k) => {
    table.set(index, k + 1);
  });
  const bytes = arena.slabs.reduce((sum, slab) => sum + slab.byteLength, 0);
  assert.ok(bytes < 3000 * 256 + 8 * 2 ** 20, `${bytes} bytes`);
  const found: number[] = [];
  for (let at = table.next(0, 2 ** 32); at < 2 ** 32; at = table.next(at + 1, 2 ** 32)) found.push(at);
  assert.deepEqual(
    found,
    [...new Set(scattered)].sort((a, b) => a - b),
  );
});

test("who goes on to higher indices, or from one instance to the next, does not need more and more room", () => {
  const arena = new ChunkArena(320);
  const table = arena.table(2, kind.data);
  for (let k = 0; k < 300_000; k++) {
    table.set(64 * k, 7);
    table.set(64 * k, 0);
  }
  assert.equal(table.next(0, 2 ** 32), 2 ** 32);
  for (let k = 0; k < 300_000; k++) {
    arena.table(3 + k, kind.data).set(k, 7);
    arena.forget(3 + k);
  }
  for (let k = 0; k < 9; k++) assert.equal(arena.table(9, kind.data).get(64 * k), 0);
  table.set(5, 7);
  assert.equal(table.get(5), 7);
});

test("what was filed before others came, and what several threads file at once, is found by all", async (t) => {
  const INDICES = 30_000;
  const arena = new ChunkArena(320);
  arena.table(2, kind.data).set(4_000_000_000, 77);
  const shared = arena.share();
  const threads = [2, 3, 4, 5];
  await Promise.all(threads.map((thread) => inThread(t, { act: "file", shared, thread, indices: INDICES })));
  for (const seen of [arena, new ChunkArena(320, shared, 6)]) {
    const common = seen.table(2, kind.data);
    assert.equal(common.get(4_000_000_000), 77);
    for (let k = 0; k < INDICES; k++) assert.equal(common.get(indexOf(k)), k + 1, `index ${indexOf(k)}`);
    for (const thread of threads) {
      const own = seen.table(2 + thread, kind.data);
      const last = INDICES - 4 + (thread % 4);
      assert.equal(own.get(last), last + 1);
      assert.equal(own.next(last + 1, 2 ** 32), 2 ** 32);
    }
  }
});

test("a chunk that another thread made is found by a search that looks past what is known", () => {
  const ours = new ChunkArena(320);
  const theirs = new ChunkArena(320, ours.share(), 2);
  ours.table(2, kind.data).set(70_000, 1);
  assert.equal(theirs.table(2, kind.data).next(0, 2 ** 32), 70_000);
  theirs.table(2, kind.data).set(70_001, 2);
  assert.equal(ours.table(2, kind.data).nextHole(70_000, 2 ** 32), 70_002);
});
