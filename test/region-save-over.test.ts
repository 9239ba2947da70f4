/**
 * Hazard: a save over what has the name already, of which a crash leaves a mixture, or that loses the old one before
 * the new one is whole. It is a layer over the old one and replaces it by one record.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Instance, PageRegion } from "../src/region/index.ts";
import { killImages, Recording, RecordingMemory, seeded } from "../src/testing/index.ts";
import { afterDeath, everyLife, freshRegion, refusal, type Trial } from "./support/region.ts";
import { find, names, text, texts } from "./support/shared.ts";

const OLD = ["old0", "old1", "old2", "...."];
const NEW = ["old0", "new1", "....", "new3"];

/** "live" with three pages, and a save over it that changes one, empties one and adds one. */
function saving(): Trial & { live: Instance; save: Instance } {
  const trial = freshRegion();
  const live = trial.region.instance("test", "live", { create: true, schema: 3 });
  for (const index of [0, 1, 2]) live.write(index, Buffer.from(`old${index}`));
  const save = trial.region.instance("test", "live", { pending: true, over: true, schema: 4 });
  save.write(1, Buffer.from("new1"));
  save.free(2);
  save.write(3, Buffer.from("new3"));
  return { ...trial, live, save };
}

const all = (instance: Instance): string[] => texts(instance, 0, 1, 2, 3);

test("a save shows what is under it and what it changed; the name has the old until it is published", () => {
  const trial = saving();
  assert.deepEqual(all(trial.save), NEW);
  assert.deepEqual(all(find(trial, "live")), OLD);
  trial.save.publish();
  assert.throws(() => trial.live.read(0), refusal("ENOENT"), "handles of the old one have ended");
  for (const next of everyLife(trial)) {
    assert.deepEqual(all(find(next, "live")), NEW);
    assert.equal(find(next, "live").schema, 4);
    assert.deepEqual(names(next), ["live"]);
    assert.deepEqual(next.region.deleted(), [], "the old one is part of the new one, not kept beside it");
  }
});

test("a save that is not published ends with its owner, or when it is deleted; the old one is as it was", () => {
  const trial = saving();
  const dead = afterDeath(trial);
  assert.deepEqual(all(find(dead, "live")), OLD);
  trial.save.delete();
  for (const next of everyLife(trial)) {
    const live = find(next, "live");
    assert.deepEqual(all(live), OLD);
    live.write(0, Buffer.from("more"));
    live.write(0, Buffer.from("old0"));
  }
});

test("until then nothing else changes the old one, and there is one save of a name", () => {
  const { region, live, save } = saving();
  const acts: (() => unknown)[] = [
    () => live.write(0, Uint8Array.of(1)),
    () => live.free(0),
    () => live.resize(512),
    () => live.delete(),
    () => live.rename("other"),
    () => live.snapshot("snap"),
    () => live.promote(region.instance("test", "third", { create: true })),
    () => region.instance("test", "live", { pending: true, over: true }),
  ];
  for (const act of acts) assert.throws(act, refusal("EBUSY"), String(act));
  assert.deepEqual(all(live), OLD, "reading goes on");
  save.publish();
  region.instance("test", "live").write(0, Buffer.from("more"));
});

test("a save over nothing makes the first one", () => {
  const trial = freshRegion();
  const save = trial.region.instance("test", "live", { pending: true, over: true });
  save.write(0, Buffer.from("1st "));
  save.publish();
  assert.equal(text(find(afterDeath(trial), "live"), 0), "1st ");
});

test("saves over saves take no more room than what they hold", () => {
  const trial = freshRegion();
  const { region } = trial;
  const first = region.instance("test", "live", { create: true });
  for (let index = 0; index < 40; index++) first.write(index, Buffer.from("v0"));
  const before = region.info().freePages;
  for (let k = 1; k <= 20; k++) {
    const save = region.instance("test", "live", { pending: true, over: true });
    save.write(k, Buffer.from(`v${k}`));
    save.publish();
  }
  assert.deepEqual(texts(find(trial, "live"), 0, 1, 20, 21), ["v0..", "v1..", "v20.", "v0.."]);
  assert.ok(before - region.info().freePages <= 40, "two pages of 512 bytes a record, which a new generation reuses");
  assert.equal(find(trial, "live").pageCount, 40);
  assert.equal(find(afterDeath(trial), "live").countShared(), 0);
});

test("a save over what cannot be shared, or that is not pending, is refused", () => {
  const { region } = freshRegion();
  const live = region.instance("test", "live", { create: true });
  live.ensureRun(0, 1)[Symbol.dispose]();
  assert.throws(() => region.instance("test", "live", { pending: true, over: true }), refusal("EINVAL"));
  live.freeRun(0);
  const page = live.ensure(0);
  assert.throws(() => region.instance("test", "live", { pending: true, over: true }), refusal("EBUSY"));
  page[Symbol.dispose]();
  const snap = live.snapshot("snap");
  region.instance("test", "live", { pending: true, over: true }).delete();
  assert.throws(() => region.instance("test", "snap", { pending: true, over: true }), refusal("READ_ONLY"));
  assert.throws(
    () => region.instance("test", "live", { create: true, over: true, pending: false }).publish(),
    refusal("EINVAL"),
  );
  assert.ok(snap.isReadOnly);
});

test("killed anywhere in the publication, there is the old one or the new one, whole", () => {
  const trial = saving();
  const { recording } = trial;
  const start = recording.recorded.slice();
  recording.events = [];
  trial.save.publish();
  const seen = new Set<string>();
  for (const crash of killImages(start, recording.events, seeded(1))) {
    const region = PageRegion.attach(new RecordingMemory(new Recording(crash.bytes().slice())));
    assert.deepEqual(names({ region, recording }), ["live"], crash.label);
    seen.add(all(region.instance("test", "live")).join());
  }
  assert.deepEqual(Array.from(seen).sort(), [NEW.join(), OLD.join()].sort());
});
