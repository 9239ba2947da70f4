/**
 * Hazard: a region of an older version that is lost by being opened, or by an upgrade that is cut off. Opening never
 * upgrades; what version 0 does not have is refused in words; an upgrade that dies leaves the one version or the other.
 */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { PageRegion } from "../src/region/index.ts";
import { geometryLayout } from "../src/region/layout.ts";
import {
  type CrashImage,
  killImages,
  type MemoryEvent,
  PowerModel,
  Recording,
  RecordingMemory,
  seeded,
} from "../src/testing/index.ts";
import { checkImage } from "./crash/checker.ts";
import { goldenImage, told, toldV0 } from "./support/golden.ts";
import { shapeOf } from "./support/images.ts";
import { ReaderMemory } from "./support/layered.ts";
import { afterDeath, everyLife, openCopy, refusal } from "./support/region.ts";

const first = (image: Uint8Array): Uint8Array => image.subarray(12, geometryLayout.sizeBytes);
const copyOf = (image: Uint8Array): Uint8Array => {
  const { geometryCopyOffset } = shapeOf(image);
  return image.subarray(geometryCopyOffset + 12, geometryCopyOffset + geometryLayout.sizeBytes);
};

describe("a region of version 0", () => {
  test("is opened, worked on and closed as such: opening never upgrades", () => {
    const image = goldenImage("v0");
    const trial = openCopy(image);
    const { region } = trial;
    region.instance("disk", "pram0").write(0, Buffer.from("new"));
    region.instance("disk", "pram0").rename("pram1");
    region.instance("test", "temp", { create: true }).write(0, Buffer.from("text"));
    region.instance("test", "temp").delete();
    for (const next of everyLife(trial)) {
      assert.equal(next.region.info().version, 0);
      assert.deepEqual(Buffer.from(first(next.recording.recorded)), Buffer.from(first(image)));
      assert.deepEqual(
        next.region.list().map(({ name }) => name),
        ["Grüße", "pram1", "runs"],
      );
    }
  });

  test("has no layers, quotas and deleted instances, and what asks for one says what to do", () => {
    const trial = openCopy(goldenImage("v0"));
    const { region } = trial;
    const disk = region.instance("disk", "pram0");
    const other = region.instance("disk", "other", { create: true });
    const acts: (() => unknown)[] = [
      () => disk.snapshot("snap"),
      () => disk.promote(other),
      () => region.instance("disk", "pram0", { pending: true, over: true }),
      () => disk.setQuota({ minPages: 1 }),
      () => region.instance("disk", "third", { create: true, quota: { maxPages: 9 } }),
    ];
    for (const act of acts) {
      assert.throws(act, (error: { code: string; remedy: string }) => {
        assert.equal(error.code, "UNSUPPORTED_VERSION", String(act));
        assert.match(error.remedy, /perdure upgrade/);
        return true;
      });
    }
    const free = region.info().freePages;
    disk.delete();
    assert.equal(region.info().freePages, free + 4, "what is deleted is gone at once");
    assert.throws(() => region.undelete("disk", "pram0"), refusal("ENOENT"));
    assert.deepEqual(
      told(afterDeath(trial).region).filter((line) => line.startsWith("disk")),
      ["disk/other unbounded: "],
    );
  });
});

describe("an upgrade", () => {
  test("keeps everything, and the region has layers from then on", () => {
    const trial = openCopy(goldenImage("v0"));
    trial.region.upgrade();
    trial.region.upgrade();
    assert.deepEqual(told(trial.region), toldV0);
    trial.region.instance("disk", "pram0").snapshot("snap").clone("copy").free(0);
    trial.region.instance("disk", "pram0").setQuota({ minPages: 2 });
    trial.region.instance("heap", "runs").delete();
    for (const next of everyLife(trial)) {
      assert.equal(next.region.info().version, 1);
      assert.equal(next.region.instance("disk", "copy").has(0), false);
      assert.equal(next.region.undelete("heap", "runs").pageCount, 4);
      checkImage(next.recording.recorded);
      next.region.instance("heap", "runs").delete();
    }
  });

  test("of a reader is refused", () => {
    const region = PageRegion.attach(new ReaderMemory(goldenImage("v0")));
    assert.throws(() => region.upgrade(), refusal("READ_ONLY"));
  });

  test("that a kill or a power cut ends anywhere leaves one version or the other, and the next open heals", () => {
    const trial = openCopy(goldenImage("v0"));
    const { recording } = trial;
    const start = recording.recorded.slice();
    recording.events = [];
    trial.region.upgrade();
    const versions = new Set<number>();
    const torn: Uint8Array[] = [];
    for (const crash of crashes(start, recording.events)) {
      const image = crash.bytes().slice();
      if (Buffer.compare(first(image), copyOf(image)) !== 0) torn.push(image);
      versions.add(opened(image, crash.label));
    }
    assert.deepEqual(versions, new Set([0, 1]));
    assert.ok(torn.length > 3, "places that differ were among them");
    for (const image of torn) crashInRecovery(image);
  });

  test("that is cut off leaves nothing that looks like one where there was none: other damage stays corruption", () => {
    const trial = openCopy(goldenImage("v0"));
    trial.region.upgrade();
    const image = trial.recording.recorded.slice();
    image[32] ^= 1;
    assert.throws(() => openCopy(image), refusal("CORRUPT"), "a bit of the identity");
    image[32] ^= 1;
    image[64] ^= 1;
    assert.throws(() => openCopy(image), refusal("CORRUPT"), "a bit of the CRC that no version has");
  });
});

/** Every crash of what was recorded, in both models. */
function* crashes(start: Uint8Array, events: readonly MemoryEvent[]): Generator<CrashImage, void, undefined> {
  yield* killImages(start, events, seeded(1));
  const power = new PowerModel(start, seeded(2));
  for (const event of events) {
    yield* power.during(event);
    power.add(event);
  }
  yield* power.now();
}

/** Opens an image to read and to write; all that there was is there, and both places agree. @returns its version */
function opened(image: Uint8Array, label: string): number {
  const reader = PageRegion.attach(new ReaderMemory(image));
  assert.deepEqual(told(reader), toldV0, label);
  const recording = new Recording(image.slice());
  const region = PageRegion.attach(new RecordingMemory(recording));
  assert.deepEqual(told(region), toldV0, label);
  const { version } = region.info();
  assert.equal(reader.info().version, version, label);
  region[Symbol.dispose]();
  const again = openCopy(recording.recorded);
  assert.equal(again.region.info().version, version, label);
  const { recorded } = again.recording;
  assert.equal(Buffer.compare(first(recorded), copyOf(recorded)), 0, `${label}: the places agree`);
  return version;
}

/** The open that heals dies, too. */
function crashInRecovery(image: Uint8Array): void {
  const recording = new Recording(image.slice());
  PageRegion.attach(new RecordingMemory(recording));
  const versions = new Set<number>();
  let k = 0;
  for (const crash of killImages(image, recording.events, seeded(4)))
    if (k++ % 7 === 0) versions.add(opened(crash.bytes().slice(), `in recovery: ${crash.label}`));
  assert.equal(versions.size, 1, "and does not go back");
}
