/**
 * Hazard: a save that is half there, or pages that are lost because a save took them and was never finished. A pending
 * instance is dropped by the next open; if it names a source, its pages go back there.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Instance, PageRegion } from "../src/region/index.ts";
import { afterClose, afterDeath, freshRegion, refusal, type Trial } from "./support/region.ts";

const text = (instance: Instance, index: number): string => Buffer.from(instance.read(index)).toString("latin1", 0, 4);
const names = (region: PageRegion): string[] => region.list().map(({ name }) => name);

/** A live instance "live" with three pages, and a pending one that names it as its source. */
function saving(): Trial & { live: Instance; save: Instance } {
  const trial = freshRegion();
  const live = trial.region.instance("test", "live", { create: true });
  for (const index of [0, 1, 2]) live.write(index, Buffer.from(`old${index}`));
  const source = { subsystem: "test", name: "live" };
  const save = trial.region.instance("test", "save", { pending: true, source });
  return { ...trial, live, save };
}

test("a pending instance has no name before it is published, and is whole after", () => {
  const trial = freshRegion();
  const pending = trial.region.instance("test", "new", { pending: true });
  pending.write(0, Buffer.from("text"));
  assert.deepEqual(names(trial.region), []);
  assert.throws(() => trial.region.instance("test", "new"), refusal("ENOENT"));
  pending.publish();
  assert.throws(() => pending.publish(), refusal("EINVAL"));
  for (const next of [afterDeath(trial), afterClose(trial)]) {
    assert.equal(text(next.region.instance("test", "new"), 0), "text");
  }
});

test("a pending instance that is not published is dropped by the next open, whatever ended the last", () => {
  const trial = freshRegion();
  const before = trial.region.info().freePages;
  const pending = trial.region.instance("test", "new", { pending: true });
  for (let index = 0; index < 9; index++) pending.write(index, Buffer.from("text"));
  for (const next of [afterDeath(trial), afterClose(trial)]) {
    assert.deepEqual(names(next.region), []);
    assert.equal(next.region.start.recovered.unfinished, 9);
    assert.ok(before - next.region.info().freePages <= 2, "only the directory grew");
  }
});

test("of two that want one name the first to publish gets it", () => {
  const { region } = freshRegion();
  const [first, second] = [1, 2].map(() => region.instance("test", "name", { pending: true }));
  first.write(0, Buffer.from("1st "));
  second.publish();
  assert.throws(() => first.publish(), refusal("EEXIST"));
  assert.throws(() => region.instance("test", "name", { pending: true }), refusal("EEXIST"));
  first.delete();
  assert.deepEqual(names(region), ["name"]);
});

test("pages that a save took go back when it dies, and stay when it was published", () => {
  const trial = saving();
  trial.live.handOver(1, trial.save, 1);
  const dead = afterDeath(trial).region;
  assert.deepEqual(names(dead), ["live"]);
  const found = dead.instance("test", "live");
  assert.deepEqual(Array.from(found.indices()), [0, 1, 2]);
  assert.equal(text(found, 1), "old1");
  trial.save.publish();
  const saved = afterDeath(trial).region;
  assert.deepEqual(names(saved), ["live", "save"]);
  assert.deepEqual(Array.from(saved.instance("test", "live").indices()), [0, 2]);
  assert.equal(text(saved.instance("test", "save"), 1), "old1");
});

test("a save that is deleted gives its pages back, and its source is open again", () => {
  const trial = saving();
  const free = trial.region.info().freePages;
  trial.live.handOver(0, trial.save, 0);
  trial.live.handOver(2, trial.save, 2);
  trial.save.delete();
  assert.deepEqual(Array.from(trial.live.indices()), [0, 1, 2]);
  assert.equal(text(trial.live, 2), "old2");
  assert.equal(trial.live.pageCount, 3);
  assert.equal(trial.region.info().freePages, free);
  trial.live.write(0, Buffer.from("new0"));
  for (const next of [afterDeath(trial), afterClose(trial)]) {
    const found = next.region.instance("test", "live");
    assert.deepEqual(
      [0, 1, 2].map((index) => text(found, index)),
      ["new0", "old1", "old2"],
    );
    assert.equal(next.region.info().freePages, free);
  }
});

test("a source is closed to everything else until its save is published", () => {
  const { live, save, region } = saving();
  live.handOver(0, save, 0);
  const acts: (() => unknown)[] = [
    () => live.write(1, Uint8Array.of(1)),
    () => live.free(1),
    () => live.ensure(9),
    () => live.resize(512),
    () => live.delete(),
    () => live.handOver(1, live, 5),
    () => region.instance("test", "other", { pending: true, source: { subsystem: "test", name: "live" } }),
  ];
  for (const act of acts) assert.throws(act, refusal("EBUSY"), String(act));
  assert.equal(text(live, 1), "old1", "reading goes on");
  save.publish();
  live.write(1, Buffer.from("new1"));
});

test("a save with a source takes pages of that source at their own index only", () => {
  const { live, save, region } = saving();
  const other = region.instance("test", "other", { create: true });
  other.write(0, Buffer.from("mine"));
  assert.throws(() => save.write(0, Uint8Array.of(1)), refusal("EINVAL"));
  assert.throws(() => save.ensure(0), refusal("EINVAL"));
  assert.throws(() => save.ensureRun(0, 1), refusal("EINVAL"));
  assert.throws(() => live.handOver(0, save, 1), refusal("EINVAL"));
  assert.throws(() => other.handOver(0, save, 0), refusal("EINVAL"));
});

test("a live page is never handed to where a crash would lose it", () => {
  const { region } = freshRegion();
  const live = region.instance("test", "live", { create: true });
  live.write(0, Buffer.from("text"));
  const pending = region.instance("test", "save", { pending: true });
  assert.throws(() => live.handOver(0, pending, 0), refusal("EINVAL"));
  pending.write(0, Buffer.from("from"));
  pending.handOver(0, live, 0);
  assert.equal(text(live, 0), "from");
});

test("a source that does not exist is refused", () => {
  const { region } = freshRegion();
  const source = { subsystem: "test", name: "nobody" };
  assert.throws(() => region.instance("test", "save", { pending: true, source }), refusal("ENOENT"));
});

test("a save that is deleted gives back what it had taken", () => {
  const trial = saving();
  trial.live.handOver(1, trial.save, 1);
  assert.equal(trial.live.has(1), false);
  trial.save.delete();
  assert.equal(text(trial.live, 1), "old1");
  trial.live.write(1, Buffer.from("new1"));
  for (const next of [afterDeath(trial), afterClose(trial)]) {
    assert.equal(text(next.region.instance("test", "live"), 1), "new1");
  }
});

test("what a save has taken cannot be freed, cut off or handed on: a crash would lose it", () => {
  const { region, live, save } = saving();
  const other = region.instance("test", "other", { pending: true });
  live.handOver(0, save, 0);
  assert.throws(() => save.free(0), refusal("EINVAL"));
  assert.throws(() => save.resize(0), refusal("EINVAL"));
  assert.throws(() => save.handOver(0, other, 0), refusal("EINVAL"));
  save.delete();
  assert.equal(text(live, 0), "old0");
});

test("a save that is deleted gives up what it was guaranteed", () => {
  const { region } = freshRegion();
  const live = region.instance("test", "live", { create: true });
  live.write(0, Buffer.from("text"));
  const source = { subsystem: "test", name: "live" };
  const save = region.instance("test", "save", { pending: true, source, quota: { minPages: 50, maxPages: 0 } });
  live.handOver(0, save, 0);
  assert.equal(region.info().promisedPages, 49);
  save.delete();
  assert.equal(region.info().promisedPages, 0);
});
