/**
 * Hazard: a guarantee that is only words. What an instance is guaranteed nobody else gets, whatever they do in a full
 * region; and no instance takes more than it may.
 */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Disk } from "../src/disk/index.ts";
import type { Instance, PageRegion } from "../src/region/index.ts";
import { afterDeath, everyLife, freshRegion, refusal, type Trial } from "./support/region.ts";
import { find, names, PAGE, shared, text } from "./support/shared.ts";

const bytes = Buffer.from("text");

/** Writes to indices from `from` on until there is no room. @returns how many it wrote */
function fill(instance: Instance, from = 0): number {
  for (let index = from; ; index++) {
    try {
      instance.write(index, bytes);
    } catch (error) {
      assert.equal((error as { code: string }).code, "ENOSPC");
      return index - from;
    }
  }
}

const create = (region: PageRegion, name: string, minPages = 0, maxPages = 0): Instance =>
  region.instance("test", name, { create: true, quota: { minPages, maxPages } });

/** Pages that somebody without a guarantee could still take. */
function left({ region }: Trial): number {
  const { freePages, reservePages, promisedPages } = region.info();
  return freePages - reservePages - promisedPages;
}

describe("a guarantee", () => {
  test("holds against everybody else, and after every end of the owner", () => {
    const trial = freshRegion();
    const kept = create(trial.region, "kept", 30);
    assert.equal(trial.region.info().promisedPages, 30);
    kept.write(0, bytes);
    assert.equal(trial.region.info().promisedPages, 29);
    fill(create(trial.region, "greedy"));
    assert.throws(() => create(trial.region, "third").ensureRun(0, 0 + 1), refusal("ENOSPC"));
    for (const next of everyLife(trial)) {
      assert.deepEqual(find(next, "kept").quota, { minPages: 30, maxPages: 0 });
      const own = find(next, "kept");
      for (let index = 1; index < 30; index++) own.write(index, bytes);
      assert.throws(() => own.write(30, bytes), refusal("ENOSPC"), "and no more than that");
      for (let index = 1; index < 30; index++) own.free(index);
    }
  });

  test("is refused where there is no room for it, and changes nothing then", () => {
    const trial = freshRegion();
    const { pages } = trial.region.info();
    assert.throws(() => create(trial.region, "a", pages), refusal("ENOSPC"));
    assert.deepEqual(names(trial), []);
    const a = create(trial.region, "a", 10);
    assert.throws(() => a.setQuota({ minPages: pages }), refusal("ENOSPC"));
    assert.deepEqual(a.quota, { minPages: 10, maxPages: 0 });
    assert.equal(trial.region.info().promisedPages, 10);
  });

  test("of all that is free holds, although the record of the instance takes pages, too", () => {
    for (let short = 0; short < 4; short++) {
      const trial = freshRegion();
      create(trial.region, "first");
      const wanted = left(trial) - short;
      try {
        const kept = create(trial.region, "kept", wanted);
        for (let index = 0; index < wanted; index++) kept.write(index, bytes);
      } catch (error) {
        assert.equal((error as { code: string }).code, "ENOSPC");
        assert.deepEqual(names(trial), ["first"], `promised ${wanted} pages, and could not keep it`);
      }
    }
  });

  test("is not eaten by the records of others", () => {
    const trial = freshRegion();
    const kept = create(trial.region, "kept", 20);
    fill(create(trial.region, "greedy"));
    for (let k = 0; k < 20; k++) {
      try {
        create(trial.region, `more${k}`);
      } catch (error) {
        assert.equal((error as { code: string }).code, "ENOSPC");
      }
    }
    for (let index = 0; index < 20; index++) kept.write(index, bytes);
  });

  test("is not eaten by trims of others, which take pages of masks", () => {
    const trial = shared(320);
    trial.disk.setQuota({ minPages: 20 });
    const others = Array.from({ length: 8 }, (_, k) => trial.snap.clone(`clone${k}`));
    fill(create(trial.region, "greedy"));
    for (const other of others) {
      try {
        for (const index of [0, 1, 2048]) other.free(index);
      } catch (error) {
        assert.equal((error as { code: string }).code, "ENOSPC");
      }
    }
    for (let index = 10; index < 30; index++) trial.disk.write(index, bytes);
  });

  test("is not eaten by handing its pages to others", () => {
    const trial = freshRegion();
    const kept = create(trial.region, "kept", 5);
    const greedy = create(trial.region, "greedy");
    for (let index = 0; index < 5; index++) kept.write(index, bytes);
    const taken = fill(greedy);
    assert.throws(() => kept.handOver(0, greedy, taken), refusal("ENOSPC"));
    kept.handOver(1, greedy, 0);
    kept.write(1, bytes);
    assert.equal(text(kept, 0), "text");
  });

  test("counts what is given back again", () => {
    const trial = freshRegion();
    const kept = create(trial.region, "kept", 10);
    for (let index = 0; index < 10; index++) kept.write(index, bytes);
    const greedy = create(trial.region, "greedy");
    fill(greedy);
    kept.free(3);
    kept.resize(8 * PAGE);
    assert.equal(trial.region.info().promisedPages, 3);
    assert.equal(fill(greedy, 1000), 0, "freed pages stay promised");
    kept.resize(20 * PAGE);
    for (const index of [3, 11, 12]) kept.write(index, bytes);
  });

  test("ends with the instance, and when it is taken back", () => {
    const trial = freshRegion();
    const a = create(trial.region, "a", 20);
    const b = create(trial.region, "b", 30);
    a.delete();
    b.setQuota({ minPages: 0 });
    assert.equal(trial.region.info().promisedPages, 0);
    assert.equal(afterDeath(trial).region.info().promisedPages, 0);
  });
});

describe("across layers", () => {
  test("a snapshot moves the guarantee to what is written from then on", () => {
    const trial = freshRegion();
    const disk = create(trial.region, "disk", 30, 40);
    for (let index = 0; index < 30; index++) disk.write(index, bytes);
    const snap = disk.snapshot("snap");
    assert.deepEqual(
      [snap.quota, disk.quota],
      [
        { minPages: 0, maxPages: 0 },
        { minPages: 30, maxPages: 40 },
      ],
    );
    assert.equal(trial.region.info().promisedPages, 30);
    fill(create(trial.region, "greedy"));
    for (const next of everyLife(trial)) {
      for (let index = 0; index < 30; index++) find(next, "disk").write(index, Buffer.from("new."));
      assert.equal(text(find(next, "snap"), 29), "text");
      find(next, "disk").resize(0);
      find(next, "disk").resize(100 * PAGE);
    }
  });

  test("a snapshot whose guarantee there is no room for is refused, and changes nothing", () => {
    const trial = freshRegion();
    const disk = create(trial.region, "disk", 100);
    for (let index = 0; index < 100; index++) disk.write(index, bytes);
    fill(create(trial.region, "greedy"));
    assert.throws(() => disk.snapshot("snap"), refusal("ENOSPC"));
    assert.deepEqual([names(trial), disk.isReadOnly, disk.pageCount], [["disk", "greedy"], false, 100]);
    disk.setQuota({ minPages: 0 });
    find(trial, "greedy").free(0);
    find(trial, "greedy").free(1);
    disk.snapshot("snap");
  });

  test("a snapshot of all that is guaranteed keeps it, although its record takes pages, too", () => {
    for (let short = 0; short < 4; short++) {
      const trial = freshRegion();
      const disk = create(trial.region, "disk", 20);
      for (let index = 0; index < 20; index++) disk.write(index, bytes);
      const greedy = create(trial.region, "greedy");
      for (let index = 0; left(trial) > 20 + short; index++) greedy.write(index, bytes);
      try {
        disk.snapshot("snap");
      } catch (error) {
        assert.equal((error as { code: string }).code, "ENOSPC");
        continue;
      }
      for (let index = 0; index < 20; index++) disk.write(index, bytes);
    }
  });

  test("a clone is guaranteed nothing, and may take what it likes", () => {
    const { disk, snap } = shared();
    disk.setQuota({ minPages: 4, maxPages: 4 });
    assert.deepEqual(snap.clone("clone").quota, { minPages: 0, maxPages: 0 });
  });

  test("an undeleted instance has its guarantee again, or stays deleted", () => {
    const trial = freshRegion();
    const disk = create(trial.region, "disk", 30);
    disk.write(0, bytes);
    disk.delete();
    assert.equal(trial.region.info().promisedPages, 0);
    const greedy = create(trial.region, "greedy");
    for (let index = 0; left(trial) > 10; index++) greedy.write(index, bytes);
    assert.throws(() => trial.region.undelete("test", "disk"), refusal("ENOSPC"));
    greedy.resize(0);
    for (const next of everyLife(trial)) {
      next.region.undelete("test", "disk");
      assert.equal(next.region.info().promisedPages, 29);
      find(next, "disk").delete();
    }
  });
});

describe("a limit", () => {
  test("is EDQUOT, and overwriting goes on", () => {
    const trial = freshRegion();
    const own = create(trial.region, "own", 0, 4);
    for (let index = 0; index < 4; index++) own.write(index, bytes);
    const acts: (() => unknown)[] = [
      () => own.write(4, bytes),
      () => own.ensure(4),
      () => own.ensureVolatile(4),
      () => own.ensureRun(8, 1),
    ];
    for (const act of acts) assert.throws(act, refusal("EDQUOT"), String(act));
    own.write(3, Buffer.from("over"));
    own.free(0);
    own.write(9, bytes);
    const other = create(trial.region, "other");
    other.write(0, bytes);
    assert.throws(() => other.handOver(0, own, 1000), refusal("EDQUOT"));
    other.handOver(0, own, 1);
    assert.throws(() => find(afterDeath(trial), "own").write(4, bytes), refusal("EDQUOT"));
  });

  test("counts own pages, not shared ones", () => {
    const { disk, snap } = shared();
    disk.setQuota({ maxPages: 1 });
    disk.write(0, bytes);
    assert.throws(() => disk.write(1, bytes), refusal("EDQUOT"));
    snap.purge();
    assert.equal(disk.pageCount, 4, "what a purge gives it is not refused");
    disk.write(1, bytes);
    assert.throws(() => disk.write(9, bytes), refusal("EDQUOT"));
  });

  test("below the minimum, or of no whole number, is refused", () => {
    const { region } = freshRegion();
    const own = create(region, "own");
    for (const quota of [{ minPages: 5, maxPages: 4 }, { minPages: -1 }, { maxPages: 1.5 }, { minPages: Number.NaN }])
      assert.throws(() => own.setQuota(quota), refusal("EINVAL"), JSON.stringify(quota));
    assert.deepEqual(own.quota, { minPages: 0, maxPages: 0 });
  });
});

describe("a disk that is reserved", () => {
  const BLOCKS = 50;
  const states = (disk: Disk): string[] =>
    disk.extents(0, disk.sizeBytes, 99).map(({ lengthBytes, hole, zero }) => {
      const kind = `${hole ? "hole" : "data"}${zero ? ",zero" : ""}`;
      return `${lengthBytes / PAGE} ${kind}`;
    });

  function reserved(): Trial & { disk: Disk } {
    const trial = freshRegion();
    const instance = trial.region.instance("test", "disk", { create: true, sizeBytes: BLOCKS * PAGE });
    const disk = new Disk(trial.region, instance);
    disk.write(3 * PAGE, new Uint8Array(2 * PAGE).fill(1));
    disk.reserve(true);
    return { ...trial, disk };
  }

  test("has no holes for its clients: a write to any block has room", () => {
    const { disk } = reserved();
    assert.deepEqual(states(disk), ["3 data,zero", "2 data", "45 data,zero"]);
    disk.reserve(false);
    assert.deepEqual(states(disk), ["3 hole,zero", "2 data", "45 hole,zero"]);
  });

  test("has room for every block, also when it shares them and was trimmed", () => {
    const trial = reserved();
    const { disk } = trial;
    disk.snapshot("snap");
    assert.deepEqual(states(disk), ["3 data,zero", "2 data", "45 data,zero"]);
    disk.trim(3 * PAGE, PAGE);
    fill(create(trial.region, "greedy"));
    for (let block = 0; block < BLOCKS; block++) disk.write(block * PAGE, new Uint8Array(PAGE).fill(2));
    for (let block = 0; block < BLOCKS; block++) disk.trim(block * PAGE, PAGE);
    disk.write(0, new Uint8Array(BLOCKS * PAGE).fill(3));
  });

  test("tells that shared blocks are data, also when it is not reserved any longer", () => {
    const { disk } = reserved();
    disk.snapshot("snap");
    disk.reserve(false);
    assert.deepEqual(states(disk), ["3 hole,zero", "2 data", "45 hole,zero"]);
    disk.write(3 * PAGE, new Uint8Array(PAGE));
    assert.deepEqual(states(disk), ["3 hole,zero", "2 data", "45 hole,zero"]);
  });
});
