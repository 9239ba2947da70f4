/** Hazard: nobody can tell why a start went as it did, or it is told wrongly. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Life } from "../src/region/index.ts";
import { lifeLayout } from "../src/region/layout.ts";
import { forgeState, lifeOffset, resealed, stateOf } from "./support/images.ts";
import { afterClose, afterDeath, freshRegion, openCopy, type Trial } from "./support/region.ts";

const brief = ({ generation, start, reason, end }: Life): string => `${generation} ${start} ${reason} ${end}`;
const lives = ({ region }: Trial): string[] => region.info().lives.map(brief);

test("the first start is cold, one after a close is warm, one after a death is recovered", () => {
  let trial = freshRegion();
  assert.deepEqual([trial.region.start.kind, trial.region.start.reason], ["cold", "formatted"]);
  assert.equal(trial.region.start.previousPid, undefined);
  trial = afterClose(trial);
  assert.deepEqual([trial.region.start.kind, trial.region.start.reason], ["warm", "closed"]);
  assert.equal(trial.region.start.previousPid, process.pid);
  trial = afterDeath(trial);
  assert.deepEqual([trial.region.start.kind, trial.region.start.reason], ["recovered", "owner-died"]);
  assert.deepEqual(lives(trial), ["1 cold formatted closed", "2 warm closed died", "3 recovered owner-died running"]);
});

test("a region that was open when the machine restarted says so", () => {
  const { recording } = afterClose(freshRegion());
  const image = recording.image.slice();
  const bootId = new Uint8Array(16).fill(0xb0);
  forgeState(image, { bootId });
  resealed(image, lifeOffset(2), lifeLayout, (bytes) => bytes.set(bootId, lifeLayout.fields.bootId.offset));
  const trial = openCopy(image);
  assert.deepEqual([trial.region.start.kind, trial.region.start.reason], ["recovered", "machine-restarted"]);
  assert.deepEqual(lives(trial), [
    "1 cold formatted closed",
    "2 warm closed machine-restarted",
    "3 recovered machine-restarted running",
  ]);
});

test("a closed region is warm also after the machine restarted", () => {
  const trial = freshRegion();
  trial.region[Symbol.dispose]();
  const image = trial.recording.image.slice();
  forgeState(image, { bootId: new Uint8Array(16).fill(0xb0) });
  assert.equal(openCopy(image).region.start.kind, "warm");
});

test("the last sixteen lives are kept, oldest first", () => {
  let trial = freshRegion();
  for (let k = 1; k < 20; k++) trial = k % 3 === 0 ? afterDeath(trial) : afterClose(trial);
  const found = trial.region.info().lives;
  assert.deepEqual(
    found.map(({ generation }) => generation),
    Array.from({ length: 16 }, (_, k) => k + 5),
  );
  assert.equal(trial.region.start.generation, 20);
  const ends = found.map(({ generation, end }) => [generation, end]);
  const expected = found.map(({ generation }) => [
    generation,
    generation === 20 ? "running" : generation % 3 === 0 ? "died" : "closed",
  ]);
  assert.deepEqual(ends, expected);
  assert.ok(found.every(({ pid, opened }) => pid === process.pid && Math.abs(Date.now() - opened.getTime()) < 60_000));
  assert.ok(found.every(({ end, closed }) => (end === "closed") === (closed !== undefined)));
});

test("a torn life is left out, the others stay", () => {
  const trial = afterClose(afterClose(freshRegion()));
  trial.recording.image[lifeOffset(2) + 9] ^= 1;
  assert.deepEqual(lives(trial), ["1 cold formatted closed", "3 warm closed running"]);
});

test("a life with a forged time or from a generation that was never is left out", () => {
  const trial = afterClose(afterClose(freshRegion()));
  const { image } = trial.recording;
  resealed(image, lifeOffset(1), lifeLayout, (bytes) => bytes.fill(0xff, 8, 24));
  resealed(image, lifeOffset(2), lifeLayout, (bytes) => bytes.fill(0xff, 0, 4));
  assert.deepEqual(lives(trial), ["3 warm closed running"]);
});

test("an unknown reason of a later version is named unknown", () => {
  const trial = afterClose(freshRegion());
  resealed(trial.recording.image, lifeOffset(1), lifeLayout, (bytes) => bytes.fill(99, 28, 29));
  assert.deepEqual(lives(trial), ["1 cold unknown closed", "2 warm closed running"]);
});

test("starts in a row that were not followed by a close are counted", () => {
  let trial = freshRegion();
  assert.equal(trial.region.start.failedStarts, 1);
  for (let k = 2; k < 5; k++) {
    trial = afterDeath(trial);
    assert.equal(trial.region.start.failedStarts, k);
  }
  trial = afterClose(trial);
  assert.equal(trial.region.start.failedStarts, 1);
});

test("a region that another writer took over takes nothing more, and does not close over it", () => {
  const trial = freshRegion();
  forgeState(trial.recording.image, { generation: 9, sequence: stateOf(trial.recording.image).sequence + 1 });
  const foreign = trial.recording.image.slice();
  assert.throws(() => trial.region.sync(), { code: "POISONED" });
  trial.region[Symbol.dispose]();
  assert.deepEqual(trial.recording.image, foreign);
});
