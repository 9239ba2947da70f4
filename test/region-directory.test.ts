/** Hazard: two instances of one name, a name that comes back as another, a directory that stops growing. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { seal } from "../src/base/index.ts";
import type { InstanceOptions, PageRegion } from "../src/region/index.ts";
import { recordLayout, recordState } from "../src/region/layout.ts";
import { shapeOf } from "./support/images.ts";
import { afterClose, afterDeath, freshRegion, openCopy, refusal } from "./support/region.ts";

const create = (region: PageRegion, name: string, options: InstanceOptions = {}) =>
  region.instance("test", name, { create: true, ...options });
const names = (region: PageRegion): string[] => region.list().map(({ name }) => name);

test("names are any text of up to 255 bytes, and come back letter for letter", () => {
  const given = [
    "a",
    "A",
    "ä",
    "日本語",
    "😀",
    "\ufeffa",
    "a b/c\n",
    "x".repeat(255),
    "ü".repeat(127),
    "__proto__",
    "a/../b",
  ];
  const trial = freshRegion();
  for (const name of given) create(trial.region, name).write(0, Buffer.from(name));
  for (const next of [afterDeath(trial), afterClose(trial)]) {
    assert.deepEqual(names(next.region).sort(), given.slice().sort());
    for (const name of given) {
      const content = Buffer.from(next.region.instance("test", name).read(0));
      assert.equal(content.toString("utf8", 0, Buffer.byteLength(name)), name);
    }
  }
});

test("names that the format cannot hold are refused, and leave nothing", () => {
  const { region } = freshRegion();
  assert.throws(() => create(region, "x".repeat(256)), refusal("ENAMETOOLONG"));
  assert.throws(() => create(region, "ü".repeat(128)), refusal("ENAMETOOLONG"));
  for (const name of ["", "a\0b", "\ud800", "a\udfff"]) assert.throws(() => create(region, name), refusal("EINVAL"));
  assert.throws(() => region.instance("s".repeat(32), "a", { create: true }), refusal("ENAMETOOLONG"));
  for (const subsystem of ["", "a\0b"]) {
    assert.throws(() => region.instance(subsystem, "a", { create: true }), refusal("EINVAL"));
  }
  region.instance("s".repeat(31), "a", { create: true });
  assert.deepEqual(names(region), ["a"]);
});

test("one name may be in several subsystems", () => {
  const trial = freshRegion();
  const subsystems = ["cache", "disk", "test"];
  for (const subsystem of subsystems)
    trial.region.instance(subsystem, "same", { create: true, schema: subsystem.length });
  const { region } = afterClose(trial);
  assert.deepEqual(
    region.list().map(({ subsystem, name, schema }) => [subsystem, name, schema]),
    subsystems.map((subsystem) => [subsystem, "same", subsystem.length]),
  );
  assert.deepEqual(
    region.list("disk").map(({ subsystem }) => subsystem),
    ["disk"],
  );
});

test("what an instance was created with comes back", () => {
  const trial = freshRegion();
  const attributes = new Uint8Array(96).fill(0xc3);
  const made = create(trial.region, "a", { sizeBytes: 5000, schema: 2 ** 32 - 1, attributes });
  create(trial.region, "b").setAttributes(Uint8Array.of(1, 2, 3));
  const { region } = afterClose(trial);
  const found = region.instance("test", "a");
  assert.deepEqual(
    [found.subsystem, found.name, found.sizeBytes, found.schema, found.created.getTime()],
    ["test", "a", 5000, 2 ** 32 - 1, made.created.getTime()],
  );
  assert.deepEqual(found.attributes, attributes);
  assert.deepEqual(Array.from(region.instance("test", "b").attributes.subarray(0, 4)), [1, 2, 3, 0]);
  assert.ok(region.instance("test", "b").sizeBytes >= 2 ** 40, "without a size there is no bound but the region's");
});

test("options that make no sense are refused", () => {
  const { region } = freshRegion();
  assert.throws(() => create(region, "a", { attributes: new Uint8Array(97) }), refusal("EINVAL"));
  for (const schema of [-1, 0.5, 2 ** 32, Number.NaN]) {
    assert.throws(() => create(region, "a", { schema }), refusal("EINVAL"), `schema ${schema}`);
  }
  for (const sizeBytes of [-1, 0.5, 2 ** 53]) {
    assert.throws(() => create(region, "a", { sizeBytes }), refusal("EINVAL"), `size ${sizeBytes}`);
  }
  assert.throws(() => create(region, "a").setAttributes(new Uint8Array(97)), refusal("EINVAL"));
  assert.throws(() => region.instance("test", "nobody"), refusal("ENOENT"));
});

test("a schema that a program does not expect is refused", () => {
  const { region } = freshRegion();
  create(region, "a", { schema: 3 });
  assert.equal(region.instance("test", "a").schema, 3);
  assert.equal(region.instance("test", "a", { schema: 3, create: true }).schema, 3);
  assert.throws(() => region.instance("test", "a", { schema: 4 }), refusal("SCHEMA_MISMATCH"));
});

test("thousands of creates and deletes: names, pages and the directory stay whole", () => {
  const trial = freshRegion(16_384);
  for (let k = 0; k < 3000; k++) {
    const instance = create(trial.region, `instance ${k}`, { sizeBytes: 512 });
    instance.write(0, Buffer.from(`${k}`));
    if (k % 3 !== 0) instance.purge();
  }
  const free = trial.region.info().freePages;
  assert.equal(trial.region.list().length, 1000);
  for (const next of [afterDeath(trial), afterClose(trial)]) {
    assert.equal(next.region.info().freePages, free);
    assert.equal(next.region.list().length, 1000);
    for (let k = 0; k < 3000; k += 3) {
      const found = next.region.instance("test", `instance ${k}`);
      assert.equal(Buffer.from(found.read(0)).toString("latin1", 0, String(k).length), `${k}`);
    }
    // The next generation gives the numbers of deleted ones out again, so the directory does not grow.
    for (let k = 0; k < 500; k++) create(next.region, `again ${k}`);
    assert.equal(next.region.info().freePages, free);
  }
});

test("an owner number is not given out twice in one generation", () => {
  const { region } = freshRegion();
  const owners = Array.from({ length: 30 }, (_, k) => {
    const made = create(region, `a${k}`);
    const [{ owner }] = region.list();
    made.purge();
    return owner;
  });
  assert.equal(new Set(owners).size, 30);
});

test("of two live records of one name the newer counts, and the other is kept as a deleted one", () => {
  const trial = freshRegion();
  create(trial.region, "same").write(0, Buffer.from("older"));
  create(trial.region, "sbme").write(0, Buffer.from("newer"));
  const image = trial.recording.image.slice();
  const shape = shapeOf(image);
  let renamed = 0;
  for (let at = shape.firstPage * 512; at < image.length; at += 512) {
    const record = recordLayout.decode(image.subarray(at, at + 512));
    if (record.name !== "sbme" || record.state !== recordState.live) continue;
    image.set(seal(recordLayout.encode({ ...record, name: "same" }), recordLayout.fields.crc), at);
    renamed++;
  }
  assert.equal(renamed, 2, "both slots");
  const next = openCopy(image);
  assert.deepEqual(names(next.region), ["same"]);
  assert.equal(Buffer.from(next.region.instance("test", "same").read(0)).toString("latin1", 0, 5), "newer");
  assert.deepEqual(
    next.region.deleted().map(({ name, pages }) => [name, pages]),
    [["same", 1]],
  );
  assert.deepEqual(names(afterDeath(next).region), ["same"]);
});

test("a region without room for a record says so, and nothing was stored", () => {
  const trial = freshRegion(64);
  const filler = create(trial.region, "filler");
  for (let k = 0; ; k++) {
    try {
      filler.write(k, Uint8Array.of(1));
    } catch {
      break;
    }
  }
  const before = trial.recording.image.slice();
  assert.throws(() => create(trial.region, "one more"), refusal("ENOSPC"));
  assert.deepEqual(trial.recording.image, before);
  assert.deepEqual(names(trial.region), ["filler"]);
});
