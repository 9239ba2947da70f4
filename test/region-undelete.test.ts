/**
 * Hazard: a delete that cannot be taken back, or memory that a deleted instance keeps from those who need it. What was
 * deleted stays until its pages are needed, the oldest goes first, and nothing that lives is touched for it.
 */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { PageRegion } from "../src/region/index.ts";
import { afterClose, afterDeath, everyLife, freshRegion, refusal, type Trial } from "./support/region.ts";
import { find, names, old, PAGE, pagesTaken, shared, text, texts } from "./support/shared.ts";

/** Makes an instance with `pages` pages that say its name. */
function filled(region: PageRegion, name: string, pages: number): void {
  const instance = region.instance("test", name, { create: true });
  for (let index = 0; index < pages; index++) instance.write(index, Buffer.from(name));
}

const deletedNames = ({ region }: Trial): string[] => region.deleted().map(({ name }) => name);

/** Writes to a new instance until there is no room. @returns how many pages it took */
function fill({ region }: Trial): number {
  const filler = region.instance("test", "filler", { create: true });
  for (let index = 0; ; index++) {
    try {
      filler.write(index, Buffer.from("fill"));
    } catch (error) {
      assert.equal((error as { code: string }).code, "ENOSPC");
      return index;
    }
  }
}

describe("a deleted instance", () => {
  test("has no name, keeps its pages, and comes back whole, whatever ended the owner", () => {
    const trial = freshRegion();
    filled(trial.region, "a", 5);
    const handle = find(trial, "a");
    assert.equal(
      pagesTaken(trial, () => handle.delete()),
      0,
    );
    assert.throws(() => handle.read(0), refusal("ENOENT"));
    for (const next of everyLife(trial)) {
      assert.deepEqual(names(next), []);
      assert.deepEqual(deletedNames(next), ["a"]);
      assert.equal(next.region.info().deletedPages, 5);
      const back = next.region.undelete("test", "a");
      assert.equal(text(back, 4), "a...");
      assert.deepEqual([deletedNames(next), names(next), next.region.info().deletedPages], [[], ["a"], 0]);
      back.write(0, Buffer.from("more"));
      assert.equal(text(find(afterDeath(next), "a"), 0), "more");
      back.delete();
    }
  });

  test("says when it was deleted", () => {
    const { region } = freshRegion();
    filled(region, "a", 1);
    const before = Date.now();
    find({ region } as Trial, "a").delete();
    const [{ deleted, pages }] = region.deleted();
    assert.ok(deleted.getTime() >= before);
    assert.equal(pages, 1);
    assert.deepEqual(region.deleted("other"), []);
  });

  test("loses its volatile pages and keeps its size, schema, attributes and runs", () => {
    const trial = freshRegion();
    const options = { create: true, sizeBytes: 20 * PAGE, schema: 7, attributes: Uint8Array.of(1, 2) };
    const instance = trial.region.instance("test", "a", options);
    instance.ensureVolatile(0)[Symbol.dispose]();
    instance.ensureRun(4, 2)[Symbol.dispose]();
    instance.delete();
    assert.equal(trial.region.info().deletedPages, 4);
    const back = trial.region.undelete("test", "a");
    assert.deepEqual([back.sizeBytes, back.schema, back.attributes[1], back.pageCount], [20 * PAGE, 7, 2, 4]);
    back.freeRun(4);
  });

  test("is refused while one of its pages is held, or being saved", () => {
    const { region } = freshRegion();
    filled(region, "a", 1);
    const a = region.instance("test", "a");
    const page = a.get(0);
    assert.throws(() => a.delete(), refusal("EBUSY"));
    assert.throws(() => a.purge(), refusal("EBUSY"));
    page[Symbol.dispose]();
    const save = region.instance("test", "a", { pending: true, over: true });
    assert.throws(() => a.delete(), refusal("EBUSY"));
    save.delete();
    a.delete();
  });

  test("that nobody deleted is not undeleted", () => {
    const { region } = freshRegion();
    filled(region, "a", 1);
    assert.throws(() => region.undelete("test", "a"), refusal("ENOENT"));
    assert.throws(() => region.purge("test", "a"), refusal("ENOENT"));
    assert.throws(() => region.undelete("test", "b"), refusal("ENOENT"));
  });
});

describe("of several of one name", () => {
  /** Three that were called "a", deleted in order, the first made last: numbers of owners say nothing. */
  function three(): Trial {
    const trial = freshRegion();
    for (const [name, size] of [
      ["c", 3],
      ["b", 2],
      ["a", 1],
    ] as const)
      filled(trial.region, name, size);
    find(trial, "a").delete();
    for (const name of ["b", "c"]) {
      find(trial, name).rename("a");
      find(trial, "a").delete();
    }
    return trial;
  }

  test("the one that was deleted last comes back, then the one before", () => {
    const trial = three();
    for (const next of [afterDeath(trial), afterClose(trial)]) {
      assert.deepEqual(deletedNames(next), ["a", "a", "a"]);
      assert.equal(next.region.undelete("test", "a").pageCount, 3);
      assert.throws(() => next.region.undelete("test", "a"), refusal("EEXIST"));
      assert.equal(next.region.undelete("test", "a", { as: "second" }).pageCount, 2);
      assert.equal(next.region.undelete("test", "a", { as: "third" }).pageCount, 1);
      assert.throws(() => next.region.undelete("test", "a", { as: "fourth" }), refusal("ENOENT"));
      assert.deepEqual(names(afterDeath(next)), ["a", "second", "third"]);
    }
  });

  test("the one that was deleted last is purged", () => {
    const { region } = three();
    region.purge("test", "a");
    assert.deepEqual(
      region.deleted().map(({ pages }) => pages),
      [2, 1],
    );
  });

  test("a refused undelete changes nothing", () => {
    const trial = three();
    filled(trial.region, "a", 9);
    assert.throws(() => trial.region.undelete("test", "a"), refusal("EEXIST"));
    assert.throws(() => trial.region.undelete("test", "a", { as: "" }), refusal("EINVAL"));
    assert.throws(() => trial.region.undelete("test", "a", { as: "n".repeat(256) }), refusal("ENAMETOOLONG"));
    for (const next of everyLife(trial)) assert.equal(deletedNames(next).length, 3);
  });
});

describe("layers", () => {
  test("of a deleted snapshot show what they showed, and it comes back with them", () => {
    const trial = shared();
    const clone = trial.snap.clone("clone");
    clone.free(0);
    trial.snap.delete();
    assert.equal(clone.parent, undefined);
    for (const next of everyLife(trial)) {
      assert.deepEqual(texts(find(next, "disk"), 0, 1, 2, 2048), old);
      assert.deepEqual(texts(find(next, "clone"), 0, 1, 2, 2048), ["....", ...old.slice(1)]);
      const back = next.region.undelete("test", "snap", { as: "again" });
      assert.ok(back.isReadOnly);
      assert.equal(find(next, "clone").parent, "again");
      back.rename("snap");
      back.delete();
    }
  });

  test("that were deleted come back over the snapshot that was purged under them meanwhile", () => {
    const trial = shared();
    trial.disk.write(0, Buffer.from("new0"));
    trial.disk.free(1);
    trial.disk.delete();
    trial.snap.purge();
    for (const next of everyLife(trial)) {
      assert.deepEqual(texts(next.region.undelete("test", "disk", { as: "back" }), 0, 1, 2, 2048), [
        "new0",
        "....",
        "o2..",
        "o204",
      ]);
      find(next, "back").rename("disk");
      find(next, "disk").delete();
    }
  });

  test("and a hidden snapshot under deleted ones go when the last of them does", () => {
    const trial = freshRegion(400);
    filled(trial.region, "disk", 30);
    const disk = find(trial, "disk");
    disk.snapshot("snap").clone("clone");
    find(trial, "snap").purge();
    for (const name of ["clone", "disk"]) find(trial, name).delete();
    assert.equal(trial.region.info().deletedPages, 0, "the pages are those of what is hidden");
    trial.region.purge("test", "clone");
    assert.equal(trial.region.info().deletedPages, 30);
    assert.equal(
      pagesTaken(trial, () => trial.region.purge("test", "disk")),
      -30,
    );
  });
});

describe("when the region is full", () => {
  test("the oldest deleted go first, and only as many as are needed", () => {
    const trial = freshRegion(320);
    for (const name of ["1st", "2nd", "3rd"]) filled(trial.region, name, 40);
    filled(trial.region, "live", 40);
    for (const name of ["2nd", "1st", "3rd"]) find(trial, name).delete();
    const free = trial.region.info().freePages - trial.region.info().reservePages;
    const filler = trial.region.instance("test", "filler", { create: true });
    for (let index = 0; index < free + 50; index++) filler.write(index, Buffer.from("fill"));
    assert.deepEqual(deletedNames(trial), ["3rd"]);
    assert.equal(text(trial.region.undelete("test", "3rd"), 39), "3rd.");
    assert.equal(text(find(trial, "live"), 39), "live");
    assert.equal(text(filler, free + 49), "fill");
  });

  test("everything that was deleted is used before anybody hears of ENOSPC", () => {
    const trial = freshRegion(320);
    const most = fill(trial);
    find(trial, "filler").purge();
    filled(trial.region, "a", 100);
    find(trial, "a").delete();
    assert.ok(fill(trial) >= most - 4, "two records of 1024 bytes at most");
    assert.deepEqual(deletedNames(trial), []);
    assert.deepEqual(names(trial), ["filler"]);
    assert.equal(trial.region.start.kind, "cold");
    assert.deepEqual(names(afterDeath(trial)), ["filler"]);
  });

  test("nothing is purged for what there will never be room for", () => {
    const trial = freshRegion();
    filled(trial.region, "a", 5);
    find(trial, "a").delete();
    filled(trial.region, "b", 1);
    const b = find(trial, "b");
    const quota = { minPages: 1000, maxPages: 0 };
    assert.throws(() => b.setQuota(quota), refusal("ENOSPC"));
    assert.throws(() => trial.region.instance("test", "c", { create: true, quota }), refusal("ENOSPC"));
    assert.throws(() => b.ensureRun(512, 9), refusal("ENOSPC"));
    assert.deepEqual(deletedNames(trial), ["a"]);
  });

  test("layers that live lose nothing when what is under them is purged", () => {
    const trial = shared(320);
    const clone = trial.snap.clone("clone");
    trial.snap.delete();
    fill(trial);
    assert.deepEqual(texts(trial.disk, 0, 1, 2, 2048), old);
    assert.deepEqual(texts(clone, 0, 1, 2, 2048), old);
    find(trial, "filler").purge();
    clone.purge();
    assert.deepEqual(texts(find(afterDeath(trial), "disk"), 0, 1, 2, 2048), old);
  });

  test("runs, snapshots and new instances get the room of what was deleted, too", () => {
    for (const act of [
      (trial: Trial) => trial.region.instance("test", "runs", { create: true }).ensureRun(0, 4)[Symbol.dispose](),
      (trial: Trial) => find(trial, "filler").snapshot("snap"),
      (trial: Trial) => void trial.region.instance("test", "new", { create: true, quota: { minPages: 20 } }),
    ]) {
      const trial = freshRegion(320);
      filled(trial.region, "gone", 60);
      find(trial, "gone").delete();
      const filler = trial.region.instance("test", "filler", { create: true });
      const { freePages, reservePages } = trial.region.info();
      for (let index = 0; index < freePages - reservePages; index++) filler.write(index, Buffer.from("fill"));
      assert.deepEqual(deletedNames(trial), ["gone"]);
      act(trial);
      assert.deepEqual(deletedNames(trial), [], String(act));
    }
  });
});
