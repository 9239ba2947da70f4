/**
 * Hazard: data of an old program that a new one takes for its own, or that are half converted and say that they are
 * new. The number of the schema is stored only when the migration has returned.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Instance } from "../src/region/index.ts";
import { PageRegion } from "../src/region/index.ts";
import { killImages, Recording, RecordingMemory, seeded } from "../src/testing/index.ts";
import { ReaderMemory } from "./support/layered.ts";
import { afterDeath, everyLife, freshRegion, refusal, type Trial } from "./support/region.ts";
import { find, text } from "./support/shared.ts";

/** Data of schema 1: a page that says "v1". */
function firstVersion(): Trial {
  const trial = freshRegion();
  trial.region.instance("test", "data", { create: true, schema: 1 }).write(0, Buffer.from("v1  "));
  return trial;
}

const calls: number[] = [];
const migrate = (instance: Instance, from: number): void => {
  calls.push(from);
  instance.write(0, Buffer.from("v2  "));
};
const open = ({ region }: Trial, options: object): Instance => region.instance("test", "data", options);

test("a migration is called once, with the number that is stored", () => {
  const trial = firstVersion();
  calls.length = 0;
  for (const next of everyLife(trial)) assert.equal(open(next, { schema: 2, migrate }).schema, 2);
  assert.deepEqual(calls, [1]);
  assert.equal(text(find(afterDeath(trial), "data"), 0), "v2  ");
});

test("nothing is migrated that is of that schema already, new, or asked for without one", () => {
  const trial = firstVersion();
  calls.length = 0;
  open(trial, { schema: 1, migrate });
  open(trial, { migrate });
  trial.region.instance("test", "new", { create: true, schema: 2, migrate });
  assert.deepEqual(calls, []);
  assert.equal(find(trial, "data").schema, 1);
});

test("without a migration, and for a reader, another schema is an error", () => {
  const trial = firstVersion();
  assert.throws(() => open(trial, { schema: 2 }), refusal("SCHEMA_MISMATCH"));
  const region = PageRegion.attach(new ReaderMemory(trial.recording.recorded));
  assert.throws(() => region.instance("test", "data", { schema: 2, migrate }), refusal("SCHEMA_MISMATCH"));
  assert.throws(() => open(trial, { schema: -1, migrate }), refusal("EINVAL"));
  assert.throws(() => open(trial, { schema: 2 ** 32, migrate }), refusal("EINVAL"));
  assert.equal(text(find(trial, "data"), 0), "v1  ");
});

test("a migration that throws leaves the old number, and is called again", () => {
  const trial = firstVersion();
  const fail = (): never => {
    throw new Error("half-way");
  };
  assert.throws(() => open(trial, { schema: 2, migrate: fail }), /half-way/);
  for (const next of everyLife(trial)) assert.equal(find(next, "data").schema, 1);
  assert.equal(open(afterDeath(trial), { schema: 2, migrate }).schema, 2);
});

test("a downgrade is a migration like any other", () => {
  const trial = firstVersion();
  open(trial, { schema: 9, migrate });
  calls.length = 0;
  open(trial, { schema: 1, migrate });
  assert.deepEqual(calls, [9]);
});

test("killed anywhere, what says that it is new is new", () => {
  const trial = firstVersion();
  const { recording } = trial;
  const start = recording.recorded.slice();
  recording.events = [];
  open(trial, { schema: 2, migrate });
  const seen = new Set<string>();
  for (const crash of killImages(start, recording.events, seeded(1))) {
    const region = PageRegion.attach(new RecordingMemory(new Recording(crash.bytes().slice())));
    const data = region.instance("test", "data");
    seen.add(`${data.schema} ${text(data, 0).trim()}`);
  }
  assert.deepEqual(Array.from(seen).sort(), ["1 v1", "1 v2", "2 v2"]);
});
