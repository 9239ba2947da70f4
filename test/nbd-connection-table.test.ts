// Hazard: a connection that two threads serve, or none; a place that is never free again.

import assert from "node:assert/strict";
import { test } from "node:test";
import { ConnectionTable, eventLoopOwner } from "../src/nbd/connection-table.ts";

test("each connection goes to the thread that has fewest, and is taken by that thread once", () => {
  const table = new ConnectionTable(10);
  const other = new ConnectionTable(table.buffer);
  assert.deepEqual(
    [100, 101, 102, 103].map((fd) => table.give(fd, [1, 2], 0)),
    [1, 2, 1, 2],
  );
  const taken = other.take(2);
  assert.deepEqual(
    taken.map((place) => other.fd(place)),
    [101, 103],
  );
  assert.deepEqual(table.take(2), []);
  assert.deepEqual(
    table.of(1).map((place) => table.fd(place)),
    [100, 102],
  );
  for (const place of taken) other.leave(place);
  assert.deepEqual([table.give(104, [1, 2], 0), table.give(105, [1, 2], 0)], [2, 2]);
});

test("there are as many as allowed, and who leaves makes room; numbers never come twice", () => {
  const table = new ConnectionTable(3);
  for (const fd of [7, 8, 9]) assert.equal(table.give(fd, [1], 0), 1);
  assert.equal(table.give(10, [1], 0), 0);
  const places = table.take(1);
  assert.deepEqual(
    places.map((place) => table.id(place)),
    [1, 2, 3],
  );
  table.leave(places[1]);
  assert.equal(table.give(10, [1], 0), 1);
  const [next] = table.take(1);
  assert.deepEqual([table.fd(next), table.id(next)], [10, 4]);
  assert.equal(new ConnectionTable(0).give(7, [1], 0), 0);
});

test("one that moves to the event loop counts for the limit, and for no thread", () => {
  const table = new ConnectionTable(2);
  table.give(7, [1], 0);
  const [place] = table.take(1);
  table.move(place);
  assert.deepEqual([table.of(1), table.of(eventLoopOwner), table.fd(place)], [[], [place], 7]);
  table.give(8, [1], 0);
  assert.equal(table.give(9, [1], 0), 0);
});

test("what a connection has done is seen by other threads, and forgotten with it", () => {
  const table = new ConnectionTable(1);
  table.give(7, [1], 0);
  const [place] = table.take(1);
  const counts = { requests: 3, bytesReceived: 2 ** 40, bytesSent: 5 };
  table.count(place, counts);
  assert.deepEqual(new ConnectionTable(table.buffer).counts(place), counts);
  table.leave(place);
  table.give(8, [1], 0);
  assert.deepEqual(table.counts(place), { requests: 0, bytesReceived: 0, bytesSent: 0 });
});
