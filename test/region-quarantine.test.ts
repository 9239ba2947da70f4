/**
 * Hazard: a region that is put aside and lost on the way: overwritten, dropped by a kill, taken by two openers, or
 * replaced by an empty one that nobody asked for.
 */
import assert from "node:assert/strict";
import { type SpawnSyncReturns, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  closeSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  statfsSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { describe, type TestContext, test } from "node:test";
import { isPerdureError, Region } from "../src/index.ts";
import { Backing, MappedMemory } from "../src/memory/index.ts";
import { createMemfd } from "../src/os/index.ts";
import { createRegion } from "../src/region/index.ts";
import { asideOf, protectStart } from "../src/region/quarantine.ts";
import { memoryFolder } from "./support/cli.ts";
import { forgeState, stateOf } from "./support/images.ts";
import { quarantineChild, steps } from "./support/quarantine-child.ts";
import { refusal } from "./support/region.ts";
import { refused, savedRegion, sevens } from "./support/saved-region.ts";

const open = { create: true, quarantineAfter: 3 };
const asideName = /^kept\.region\.quarantine-\d{8}T\d{6}\.\d{3}Z$/;

/** A region with a page of sevens, whose starts failed. */
async function failingRegion(t: TestContext, failedStarts = 3): Promise<{ folder: string; path: string }> {
  const { folder, path } = await savedRegion(t);
  const image = readFileSync(path);
  forgeState(image, { failedStarts, state: 1 });
  writeFileSync(path, image);
  return { folder, path };
}

async function holdsSevens(path: string): Promise<boolean> {
  using region = await Region.open(path, { readOnly: true });
  return region.list("test").length > 0 && Buffer.compare(region.instance("test", "kept").read(3), sevens) === 0;
}

/** The only other file in the folder of a region. */
function asideIn(path: string): string {
  const others = readdirSync(dirname(path)).filter((name) => name !== "kept.region");
  assert.equal(others.length, 1, others.join());
  assert.match(others[0], asideName);
  return join(dirname(path), others[0]);
}

describe("a region whose starts failed", () => {
  test("and that is thin needs no room for all of the fresh one", async (t) => {
    const path = join(memoryFolder(t), "kept.region");
    const { bavail, bsize } = statfsSync(dirname(path));
    const options = { ...open, size: bavail * bsize + 2 ** 30, pageSize: "2M", thin: true };
    await (await Region.open(path, options)).close();
    const file = openSync(path, "r+");
    const image = new Uint8Array(4096);
    readSync(file, image, 0, image.length, 0);
    forgeState(image, { failedStarts: 3, state: 1 });
    writeSync(file, image, 0, image.length, 0);
    closeSync(file);
    const region = await Region.open(path, open);
    assert.equal(region.start.quarantined, asideIn(path));
    assert.equal(region.info().thin, true);
    await region.close();
  });

  test("is put aside as it is, and a fresh one of its size takes its place", async (t) => {
    const { path } = await failingRegion(t);
    const [before, { ino }] = [readFileSync(path), statSync(path)];
    const region = await Region.open(path, open);
    const { kind, reason, quarantined, failedStarts, generation } = region.start;
    assert.deepEqual([kind, reason, failedStarts, generation], ["cold", "quarantined", 1, 1]);
    assert.deepEqual(
      region.info().lives.map((life) => life.reason),
      ["quarantined"],
    );
    assert.deepEqual(region.list(), []);
    assert.equal(region.pageBytes, 512);
    await region.close();
    const aside = asideIn(path);
    assert.equal(quarantined, aside);
    assert.deepEqual(readFileSync(aside), before);
    assert.equal(statSync(aside).ino, ino);
    assert.equal(statSync(path).size, before.length);
    assert.ok(await holdsSevens(aside));
    const next = await Region.open(path, open);
    assert.deepEqual([next.start.kind, next.start.quarantined], ["warm", undefined]);
    await next.close();
  });

  test("is opened like any other where nobody asked for protection, and by readers", async (t) => {
    const { path } = await failingRegion(t);
    const reader = await Region.open(path, { readOnly: true, quarantineAfter: 3 });
    await reader.close();
    const region = await Region.open(path, { create: true });
    assert.deepEqual([region.start.kind, region.start.failedStarts], ["recovered", 4]);
    await region.close();
    assert.ok(await holdsSevens(path));
  });

  test("is opened while the limit is not reached", async (t) => {
    const { path } = await failingRegion(t, 2);
    const region = await Region.open(path, open);
    assert.deepEqual([region.start.kind, region.start.failedStarts], ["recovered", 3]);
    await region.close();
  });

  test("is refused without create, and nothing changes", async (t) => {
    const { folder, path } = await failingRegion(t);
    await refused("QUARANTINED", path, folder, () => Region.open(path, { quarantineAfter: 3 }));
  });

  test("is refused where there is no room for both, and nothing changes", async (t) => {
    const { folder, path } = await failingRegion(t);
    await refused("ENOSPC", "beside it", folder, () => Region.open(path, { ...open, size: "1P" }));
  });

  test("is refused when the fresh one cannot be made, and nothing changes", async (t) => {
    const { folder, path } = await failingRegion(t);
    await refused("EINVAL", "page", folder, () => Region.open(path, { ...open, pageSize: 1000 }));
  });

  test("is refused in a descriptor, which has no name to change", async (t) => {
    const { path } = await failingRegion(t);
    const fd = createMemfd("failing");
    t.after(() => closeSync(fd));
    writeSync(fd, readFileSync(path));
    await refused("QUARANTINED", `fd:${fd}`, undefined, () => Region.open(`fd:${fd}`, open));
    const region = await Region.open(`fd:${fd}`, { create: true });
    assert.equal(region.start.failedStarts, 4);
    await region.close();
  });

  test("is refused as corrupt when that is all, and put aside when its starts failed, too", async (t) => {
    for (const [failedStarts, name] of [
      [2, "refused"],
      [3, "put aside"],
    ] as const) {
      const { folder, path } = await failingRegion(t, failedStarts);
      const image = readFileSync(path);
      image[4096 + 1] ^= 1;
      writeFileSync(path, image);
      if (name === "refused") await refused("CORRUPT", path, folder, () => Region.open(path, open));
      else await (await Region.open(path, open)).close();
      assert.equal(readdirSync(folder).length, name === "refused" ? 1 : 2);
    }
  });
});

describe("putting a region aside", () => {
  test("never takes a name from another file", async (t) => {
    const { folder, path } = await failingRegion(t);
    const other = join(folder, "other");
    writeFileSync(other, "somebody's");
    using backing = Backing.open(path);
    assert.throws(() => backing.rename(other), refusal("EEXIST"));
    assert.equal(readFileSync(other, "utf8"), "somebody's");
    assert.ok(await holdsSevens(path));
  });

  test("does not touch a file that took the region's name meanwhile", async (t) => {
    const { folder, path } = await failingRegion(t);
    using backing = Backing.open(path);
    backing.rename(join(folder, "moved"));
    writeFileSync(path, "somebody's");
    assert.throws(() => backing.rename(join(folder, "again")), refusal("ENOENT"));
    assert.equal(readFileSync(path, "utf8"), "somebody's");
  });

  test("tells where the region is when another process took its name in between", async (t) => {
    const { path } = await failingRegion(t);
    const memory = new MappedMemory([Backing.open(path)]);
    t.after(() => memory.close());
    const takeName = (): MappedMemory =>
      protectStart(memory, open, (fresh, putAside) =>
        createRegion(path, fresh, () => {
          putAside();
          writeFileSync(path, "somebody's");
        }),
      );
    assert.throws(takeName, (error) => isPerdureError(error, "EEXIST") && error.message.includes(asideIn(path)));
    assert.equal(asideOf(memory), undefined);
    assert.equal(readFileSync(path, "utf8"), "somebody's");
    assert.ok(await holdsSevens(asideIn(path)));
  });

  for (const when of ["before", "after"]) {
    for (const step of steps) {
      test(`loses nothing by a kill ${when} the step "${step}"`, async (t) => {
        const { folder, path } = await failingRegion(t);
        const killed = runChild(path, when, step);
        assert.equal(killed.signal, "SIGKILL");
        const names = readdirSync(folder).map((name) => (asideName.test(name) ? "aside" : name));
        const isAside = when === "after" || step === "publish";
        const isDone = when === "after" && step === "publish";
        const expected = isDone ? ["aside", "kept.region"] : isAside ? ["aside"] : ["kept.region"];
        assert.deepEqual(names.toSorted(), expected);
        assert.ok(await holdsSevens(isAside ? asideIn(path) : path));
        const next = await Region.open(path, { ...open, size: "256K" });
        assert.equal(next.start.reason, isAside ? "formatted" : "quarantined");
        await next.close();
        assert.ok(await holdsSevens(asideIn(path)));
      });
    }
  }

  test("happens once, however many openers come at once", async (t) => {
    const { path } = await failingRegion(t);
    const children = Array.from({ length: 4 }, () => spawn(process.execPath, [quarantineChild, path]));
    t.after(() => children.forEach((child) => child.kill("SIGKILL")));
    await Promise.all(children.map((child) => once(child, "close")));
    assert.ok(await holdsSevens(asideIn(path)));
    assert.equal(await holdsSevens(path), false);
    assert.equal(stateOf(readFileSync(path)).failedStarts, 0);
  });
});

function runChild(path: string, when: string, step: string): SpawnSyncReturns<string> {
  return spawnSync(process.execPath, [quarantineChild, path, when, step], { encoding: "utf8" });
}
