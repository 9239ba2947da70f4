/** Hazard: an instance that is found under two names, or under none. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { PageRegion } from "../src/region/index.ts";
import { killImages, Recording, RecordingMemory, seeded } from "../src/testing/index.ts";
import { everyLife, freshRegion, refusal } from "./support/region.ts";
import { find, names, old, shared, text, texts } from "./support/shared.ts";

test("a renamed instance has the new name only, with all that it holds and its handles", () => {
  const trial = shared();
  const other = find(trial, "disk");
  trial.disk.rename("pram0");
  trial.snap.rename("monday");
  assert.deepEqual([other.name, trial.disk.parent], ["pram0", "monday"]);
  other.write(9, Buffer.from("more"));
  for (const next of everyLife(trial)) {
    assert.deepEqual(names(next), ["monday", "pram0"]);
    assert.throws(() => find(next, "disk"), refusal("ENOENT"));
    assert.deepEqual(texts(find(next, "pram0"), 0, 1, 2, 2048, 9), [...old, "more"]);
    assert.ok(find(next, "monday").isReadOnly);
  }
});

test("a name that was given up can be taken by another", () => {
  const trial = freshRegion();
  const [a, b] = ["a", "b"].map((name) => trial.region.instance("test", name, { create: true }));
  a.write(0, Buffer.from("1st "));
  b.write(0, Buffer.from("2nd "));
  a.rename("c");
  b.rename("a");
  a.rename("b");
  for (const next of everyLife(trial)) {
    assert.deepEqual([text(find(next, "a"), 0), text(find(next, "b"), 0)], ["2nd ", "1st "]);
    assert.equal(names(next).length, 2);
  }
});

test("its own name is no other, and names of another subsystem do not count", () => {
  const { region, disk } = shared();
  disk.rename("disk");
  region.instance("other", "taken", { create: true });
  disk.rename("taken");
  assert.deepEqual(
    region.list().map(({ subsystem, name }) => `${subsystem}/${name}`),
    ["other/taken", "test/snap", "test/taken"],
  );
});

test("what cannot be a name is refused, and changes nothing", () => {
  const trial = shared();
  const { disk, region } = trial;
  assert.throws(() => disk.rename("snap"), refusal("EEXIST"));
  assert.throws(() => disk.rename(""), refusal("EINVAL"));
  assert.throws(() => disk.rename("n".repeat(256)), refusal("ENAMETOOLONG"));
  const pending = region.instance("test", "new", { pending: true });
  assert.throws(() => pending.rename("newer"), refusal("EINVAL"));
  const save = region.instance("test", "disk", { pending: true, over: true });
  assert.throws(() => disk.rename("other"), refusal("EBUSY"));
  save.delete();
  disk.delete();
  assert.throws(() => disk.rename("other"), refusal("ENOENT"));
  assert.deepEqual(names(trial), ["snap"]);
});

test("killed anywhere, it has the one name or the other", () => {
  const trial = shared();
  const { recording } = trial;
  const start = recording.recorded.slice();
  recording.events = [];
  trial.disk.rename("pram0");
  const seen = new Set<string>();
  for (const crash of killImages(start, recording.events, seeded(1))) {
    const region = PageRegion.attach(new RecordingMemory(new Recording(crash.bytes().slice())));
    const [name, ...others] = names({ region, recording }).filter((one) => one !== "snap");
    assert.deepEqual(others, []);
    assert.deepEqual(texts(find({ region, recording }, name), 0, 1, 2, 2048), old);
    seen.add(name);
  }
  assert.deepEqual(Array.from(seen).sort(), ["disk", "pram0"]);
});
