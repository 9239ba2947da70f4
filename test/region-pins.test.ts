/** Hazard: a page that is held in one thread and freed by another. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Pins } from "../src/region/pins.ts";
import { refusal } from "./support/region.ts";
import { inThread } from "./support/threads.ts";

test("a page is held until every handle of it is let go", () => {
  const pins = new Pins(100);
  pins.hold(7);
  pins.hold(7);
  pins.letGo(7);
  assert.ok(pins.has(7));
  assert.ok(!pins.has(8));
  assert.equal(pins.own, 1);
  pins.letGo(7);
  assert.ok(!pins.has(7));
});

test("what any thread holds is held for all, and counts as its own for that thread only", async (t) => {
  const pins = new Pins(1000);
  const shared = pins.share();
  const own = await Promise.all([1, 2].map(() => inThread<number>(t, { act: "pin", shared, pages: 1000 })));
  assert.deepEqual(own, [500, 500]);
  assert.equal(pins.own, 0);
  for (let page = 0; page < 1000; page++) assert.equal(pins.has(page), page % 2 === 1, `page ${page}`);
  // Two handles of each are left: the count of no page got lost between the threads.
  for (const page of [1, 501, 999]) {
    pins.letGo(page);
    pins.letGo(page);
    assert.ok(!pins.has(page));
  }
});

test("a page with more handles than can be counted is refused, and stays held", () => {
  const pins = new Pins(2);
  for (let k = 0; k < 65471; k++) pins.hold(1);
  assert.throws(() => pins.hold(1), refusal("EBUSY"));
  for (let k = 0; k < 65471; k++) pins.letGo(1);
  assert.ok(!pins.has(1));
});
