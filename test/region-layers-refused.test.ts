/**
 * Hazard: a snapshot of what cannot be shared: pages that a program stores into through a view, runs, pages that end
 * with the generation, pages that a save is taking. It is refused, and nothing of it is left.
 */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { afterDeath, freshRegion, refusal } from "./support/region.ts";
import { names, shared } from "./support/shared.ts";

describe("refused is a snapshot", () => {
  test("while pages are held, since a view stores into them", () => {
    const trial = shared();
    const page = trial.disk.ensure(3);
    assert.throws(() => trial.disk.snapshot("next"), refusal("EBUSY"));
    page[Symbol.dispose]();
    trial.disk.snapshot("next");
    assert.deepEqual(names(trial), ["disk", "next", "snap"]);
  });

  test("of runs and volatile pages, which nobody shares", () => {
    const { region } = freshRegion();
    const runs = region.instance("test", "runs", { create: true });
    runs.ensureRun(4, 2)[Symbol.dispose]();
    assert.throws(() => runs.snapshot("snap"), refusal("EINVAL"));
    runs.freeRun(4);
    runs.ensureVolatile(0)[Symbol.dispose]();
    assert.throws(() => runs.snapshot("snap"), refusal("EINVAL"));
    runs.freeVolatile(0);
    runs.snapshot("snap");
  });

  test("of what is pending or being saved", () => {
    const trial = shared();
    const pending = trial.region.instance("test", "new", { pending: true });
    assert.throws(() => pending.snapshot("next"), refusal("EINVAL"));
    const save = trial.region.instance("test", "disk", { pending: true, over: true });
    assert.throws(() => trial.disk.snapshot("next"), refusal("EBUSY"));
    save.delete();
    trial.disk.snapshot("next");
  });

  test("under a name that is taken, none, or too long", () => {
    const trial = shared();
    for (const name of ["disk", "snap"]) assert.throws(() => trial.disk.snapshot(name), refusal("EEXIST"));
    assert.throws(() => trial.snap.clone("disk"), refusal("EEXIST"));
    for (const name of ["", "a\0b", "\ufffd"]) assert.throws(() => trial.disk.snapshot(name), refusal("EINVAL"));
    assert.throws(() => trial.disk.snapshot("n".repeat(256)), refusal("ENAMETOOLONG"));
    assert.deepEqual(names(trial), ["disk", "snap"]);
    assert.deepEqual(names(afterDeath(trial)), ["disk", "snap"], "and nothing is left of it");
  });

  test("of what was deleted", () => {
    const { disk, snap } = shared();
    disk.delete();
    assert.throws(() => disk.snapshot("next"), refusal("ENOENT"));
    snap.delete();
    assert.throws(() => snap.clone("next"), refusal("ENOENT"));
  });
});

test("a snapshot is not deleted while a page is held through it, whichever layer that belongs to", () => {
  const { region, disk, snap } = shared();
  const later = disk.snapshot("later");
  snap.delete();
  const page = later.get(1);
  disk.purge();
  for (const act of [() => later.delete(), () => later.purge()]) assert.throws(act, refusal("EBUSY"));
  region.purge("test", "snap");
  const other = region.instance("test", "other", { create: true });
  for (let index = 0; index < 100; index++) other.write(index, Buffer.from("else"));
  assert.equal(Buffer.from(page.bytes).toString("latin1", 0, 2), "o1");
  page[Symbol.dispose]();
  later.delete();
});
