/** Hazard: a run that is not one piece, not aligned, or half of which is freed. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { windowBytes } from "../src/memory/index.ts";
import { analyze } from "../src/region/index.ts";
import { Recording, RecordingMemory } from "../src/testing/index.ts";
import { afterClose, afterDeath, freshRegion, refusal } from "./support/region.ts";

test("runs of every order are aligned, of zeroes, in one piece, and found again", () => {
  const trial = freshRegion(4096);
  const instance = trial.region.instance("test", "a", { create: true });
  const free = trial.region.info().freePages;
  for (let order = 1; order <= 9; order++) {
    using run = instance.ensureRun(1000 * order, order);
    assert.equal(run.number % 2 ** order, 0);
    assert.equal(run.bytes.length, 512 * 2 ** order);
    assert.ok(run.bytes.every((byte) => byte === 0));
    run.bytes.fill(order);
  }
  assert.equal(instance.pageCount, 1022);
  for (const { region } of [afterDeath(trial), afterClose(trial)]) {
    const found = region.instance("test", "a");
    assert.equal(found.pageCount, 1022);
    for (let order = 1; order <= 9; order++) {
      using run = found.ensureRun(1000 * order, order);
      assert.ok(run.bytes.every((byte) => byte === order));
      assert.equal(found.read(1000 * order + 2 ** order - 1)[511], order, "pages of a run are read one by one, too");
    }
    for (let order = 1; order <= 9; order++) found.freeRun(1000 * order + 1);
    assert.equal(found.pageCount, 0);
    assert.equal(region.info().freePages, free);
  }
});

test("a run is freed, moved and overwritten as a whole or not at all", () => {
  const { region } = freshRegion();
  const instance = region.instance("test", "a", { create: true });
  const run = instance.ensureRun(8, 2);
  run[Symbol.dispose]();
  for (const index of [8, 9, 11]) {
    assert.throws(() => instance.free(index), refusal("EINVAL"));
    assert.throws(() => instance.write(index, Uint8Array.of(1)), refusal("EINVAL"));
    assert.throws(() => instance.handOver(index, instance, 0), refusal("EINVAL"));
  }
  instance.write(0, Uint8Array.of(1));
  assert.throws(() => instance.handOver(0, instance, 9), refusal("EINVAL"));
  instance.freeRun(10);
  assert.deepEqual(Array.from(instance.indices()), [0]);
  assert.throws(() => instance.freeRun(0), refusal("ENODATA"));
  assert.throws(() => instance.freeRun(8), refusal("ENODATA"));
});

test("a run is made only where nothing stands, and only of sizes that there are", () => {
  const { region } = freshRegion();
  const instance = region.instance("test", "a", { create: true, sizeBytes: 100 * 512 });
  instance.write(5, Uint8Array.of(1));
  assert.throws(() => instance.ensureRun(4, 1), refusal("EEXIST"));
  assert.throws(() => instance.ensureRun(99, 1), refusal("EINVAL"));
  const tooLarge = Math.log2(windowBytes / 512) + 1;
  for (const order of [0, -1, 1.5, tooLarge, Number.NaN]) {
    assert.throws(() => instance.ensureRun(0, order), refusal("EINVAL"), `order ${order}`);
  }
  instance.ensureRun(0, 2)[Symbol.dispose]();
  assert.throws(() => instance.ensureRun(0, 1), refusal("EEXIST"), "another size is not this run");
  assert.throws(() => instance.ensureRun(2, 1), refusal("EEXIST"));
});

test("a size that cuts a run is refused; one at its ends frees or keeps it whole", () => {
  const { region } = freshRegion();
  const instance = region.instance("test", "a", { create: true, sizeBytes: 100 * 512 });
  instance.ensureRun(4, 2)[Symbol.dispose]();
  for (const pages of [5, 6, 7]) assert.throws(() => instance.resize(pages * 512), refusal("EINVAL"));
  instance.resize(8 * 512);
  assert.equal(instance.pageCount, 4);
  instance.resize(4 * 512);
  assert.equal(instance.pageCount, 0);
});

test("neighbouring runs and pages of one instance are told apart", () => {
  const trial = freshRegion();
  const instance = trial.region.instance("test", "a", { create: true });
  for (let k = 0; k < 6; k++) instance.ensureRun(2 * k, 1)[Symbol.dispose]();
  instance.write(12, Uint8Array.of(1));
  instance.freeRun(4);
  const found = afterDeath(trial).region.instance("test", "a");
  assert.deepEqual(Array.from(found.indices()), [0, 1, 2, 3, 6, 7, 8, 9, 10, 11, 12]);
  found.freeRun(7);
  assert.deepEqual(Array.from(found.indices()), [0, 1, 2, 3, 8, 9, 10, 11, 12]);
});

test("a deleted instance leaves nothing of its runs", () => {
  const trial = freshRegion();
  const instance = trial.region.instance("test", "a", { create: true });
  const free = trial.region.info().freePages;
  for (const order of [1, 2, 3]) instance.ensureRun(100 * order, order)[Symbol.dispose]();
  instance.purge();
  assert.equal(trial.region.info().freePages, free);
  const { findings, plan } = analyze(new RecordingMemory(new Recording(trial.recording.image.slice())));
  assert.deepEqual([findings, plan.freeTails], [[], []]);
});
