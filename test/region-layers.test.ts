/**
 * Hazard: a snapshot that changes, a clone that writes through to what it shares, older data that come back, pages that
 * nobody gives back. A snapshot keeps what an instance held, takes no pages for it, and nothing done later shows in it.
 */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { PageRegion } from "../src/region/index.ts";
import { ReaderMemory } from "./support/layered.ts";
import { afterClose, afterDeath, everyLife, freshRegion, refusal, type Trial } from "./support/region.ts";
import { find, names, old, PAGE, pagesTaken, shared, text, texts } from "./support/shared.ts";

describe("a snapshot", () => {
  test("shares every page, and takes none but for the directory", () => {
    const trial = freshRegion(400);
    const disk = trial.region.instance("test", "disk", { create: true });
    for (let index = 0; index < 100; index++) disk.write(index, Buffer.from("text"));
    const taken = pagesTaken(trial, () => disk.snapshot("snap"));
    assert.ok(taken <= 2, `${taken} pages of 512 bytes hold a record of 1024`);
    assert.equal(disk.pageCount, 0);
    assert.equal(disk.countShared(), 100);
    assert.equal(disk.stateOf(0), "shared");
    assert.equal(find(trial, "snap").pageCount, 100);
    assert.equal(disk.parent, "snap");
  });

  test("keeps its content whatever is done to what it was taken of", () => {
    const trial = shared();
    const { disk, snap } = trial;
    disk.write(0, Buffer.from("new0"));
    disk.write(1, Buffer.from("N"), 1);
    disk.free(2);
    disk.resize(2000 * PAGE);
    disk.resize(6000 * PAGE);
    assert.deepEqual(texts(disk, 0, 1, 2, 2048), ["new0", "oN..", "....", "...."]);
    assert.deepEqual(texts(snap, 0, 1, 2, 2048), old);
    for (const next of [afterDeath(trial), afterClose(trial)]) {
      assert.deepEqual(texts(find(next, "disk"), 0, 1, 2, 2048), ["new0", "oN..", "....", "...."]);
      assert.deepEqual(texts(find(next, "snap"), 0, 1, 2, 2048), old);
    }
  });

  test("is read-only, and stays so when nothing stands on it any longer", () => {
    const trial = shared();
    trial.disk.purge();
    for (const next of everyLife(trial)) {
      const snap = find(next, "snap");
      assert.ok(snap.isReadOnly);
      const acts: (() => unknown)[] = [
        () => snap.write(0, Uint8Array.of(1)),
        () => snap.free(0),
        () => snap.ensure(9),
        () => snap.ensureRun(8, 1),
        () => snap.ensureVolatile(0),
        () => snap.resize(PAGE),
        () => snap.setAttributes(Uint8Array.of(1)),
        () => snap.setQuota({ maxPages: 4 }),
        () => snap.handOver(0, snap, 9),
        () => snap.snapshot("again"),
      ];
      for (const act of acts) assert.throws(act, refusal("READ_ONLY"), String(act));
      using page = snap.get(0);
      page.bytes.fill(7);
      assert.deepEqual(texts(snap, 0), ["o0.."], "a held page of it is a copy");
    }
  });

  test("leaves handles with what may be written, also those made before", () => {
    const { region, disk } = shared();
    const other = region.instance("test", "disk");
    disk.snapshot("second");
    other.write(0, Buffer.from("mine"));
    assert.deepEqual(texts(disk, 0), ["mine"]);
    assert.deepEqual([disk.name, other.name, disk.isReadOnly], ["disk", "disk", false]);
    assert.deepEqual(texts(region.instance("test", "second"), 0), ["o0.."]);
  });

  test("shows its content in every generation of a deep chain, and is O(1) to remove from its end", () => {
    const trial = freshRegion(900);
    const disk = trial.region.instance("test", "disk", { create: true, sizeBytes: 300 * PAGE });
    for (let k = 0; k < 200; k++) {
      disk.write(k % 50, Buffer.from(`v${k}`));
      disk.snapshot(`snap${k}`);
    }
    const check = (next: Trial): void => {
      for (let k = 0; k < 200; k += 7) {
        const snap = find(next, `snap${k}`);
        for (let index = 0; index < 50; index++) {
          const value = k - ((((k - index) % 50) + 50) % 50);
          assert.equal(text(snap, index), value < 0 ? "...." : `v${value}`.padEnd(4, "."), `snap${k}[${index}]`);
        }
      }
    };
    check(trial);
    check(afterDeath(trial));
    const next = afterClose(trial);
    check(next);
    for (let k = 0; k < 199; k++) find(next, `snap${(k * 77) % 199}`).purge();
    assert.equal(text(find(next, "snap199"), 3), "v153");
    assert.equal(text(find(next, "disk"), 3), "v153");
    assert.equal(find(next, "snap199").pageCount, 50, "what older layers held has come up");
  });
});

describe("a clone", () => {
  test("is written without changing its snapshot, nor its siblings", () => {
    const trial = shared();
    const [a, b] = ["a", "b"].map((name) => trial.snap.clone(name));
    a.write(0, Buffer.from("aaaa"));
    b.free(0);
    b.write(1, Buffer.from("B"), 3);
    const check = (next: Trial): void => {
      assert.deepEqual(texts(find(next, "a"), 0, 1, 2, 2048), ["aaaa", ...old.slice(1)]);
      assert.deepEqual(texts(find(next, "b"), 0, 1, 2, 2048), ["....", "o1.B", ...old.slice(2)]);
      assert.deepEqual(texts(find(next, "disk"), 0, 1, 2, 2048), old);
      assert.deepEqual(texts(find(next, "snap"), 0, 1, 2, 2048), old);
    };
    check(trial);
    check(afterDeath(trial));
    check(afterClose(trial));
  });

  test("of a clone of a clone shows what all of them hold", () => {
    const trial = shared();
    let top = trial.snap.clone("c0");
    for (let k = 1; k < 6; k++) {
      top.write(k + 10, Buffer.from(`c${k}`));
      if (k === 3) top.free(0);
      top = top.snapshot(`s${k}`).clone(`c${k}`);
    }
    assert.deepEqual(texts(top, 0, 1, 11, 12, 13, 14, 15), ["....", "o1..", "c1..", "c2..", "c3..", "c4..", "c5.."]);
    assert.deepEqual(texts(find(trial, "s2"), 0, 12, 13), ["o0..", "c2..", "...."]);
  });

  test("is made of snapshots only: what a layer stands on must not change", () => {
    const { disk } = shared();
    assert.throws(() => disk.clone("copy"), refusal("EINVAL"));
  });

  test("hands a copy of what it shares to whoever holds a page, and keeps what was stored there", () => {
    const trial = shared();
    const clone = trial.snap.clone("clone");
    {
      using page = clone.get(0);
      assert.equal(Buffer.from(page.bytes).toString("latin1", 0, 2), "o0");
      page.bytes.set(Buffer.from("view"));
      page.persist();
    }
    {
      using page = clone.ensure(1);
      assert.equal(Buffer.from(page.bytes).toString("latin1", 0, 2), "o1", "not made of zeroes");
    }
    assert.deepEqual(texts(trial.snap, 0, 1), ["o0..", "o1.."]);
    assert.deepEqual(texts(find(afterDeath(trial), "clone"), 0, 1), ["view", "o1.."]);
  });

  test("gives pages of its own to others; a shared one is not its to give", () => {
    const trial = shared();
    const clone = trial.snap.clone("clone");
    clone.write(0, Buffer.from("mine"));
    assert.throws(() => clone.handOver(1, trial.disk, 1), refusal("ENODATA"));
    clone.handOver(0, trial.disk, 5);
    assert.deepEqual(texts(clone, 0), ["...."], "what it shared does not come back");
    assert.deepEqual(texts(trial.disk, 0, 5), ["o0..", "mine"]);
    assert.deepEqual(texts(find(afterDeath(trial), "clone"), 0), ["...."]);
  });

  test("has no runs; its volatile pages cover what it shares when they are kept", () => {
    const { disk, snap } = shared();
    assert.throws(() => disk.ensureRun(0, 1), refusal("EINVAL"));
    disk.ensureVolatile(0)[Symbol.dispose]();
    disk.keep(0);
    assert.deepEqual(texts(disk, 0), ["...."]);
    assert.deepEqual(texts(snap, 0), ["o0.."]);
  });
});

describe("holes", () => {
  test("of a layer hide what is below, also after it was written and emptied again", () => {
    const trial = shared();
    assert.equal(trial.disk.free(0), true);
    assert.equal(trial.disk.free(0), false);
    trial.disk.write(0, Buffer.from("new0"));
    trial.disk.free(0);
    for (const next of [trial, afterDeath(trial)]) {
      const disk = find(next, "disk");
      assert.deepEqual([text(disk, 0), disk.has(0), disk.stateOf(0)], ["....", false, "none"]);
      assert.deepEqual(Array.from(disk.indices()), [1, 2, 2048]);
      assert.equal(disk.nextHole(1, 100), 3);
      assert.equal(text(find(next, "snap"), 0), "o0..");
    }
  });

  test("take one page of masks for each range of 2048 indices, once", () => {
    const trial = shared();
    assert.equal(
      pagesTaken(trial, () => trial.disk.free(0)),
      1,
    );
    assert.equal(
      pagesTaken(trial, () => trial.disk.free(1)),
      0,
    );
    assert.equal(
      pagesTaken(trial, () => trial.disk.free(2048)),
      1,
    );
    assert.equal(trial.disk.pageCount, 2, "and are counted");
  });

  test("that a smaller size left are zeroes when it grows again", () => {
    const trial = shared();
    const clone = trial.snap.clone("clone");
    for (const one of [trial.disk, clone]) {
      one.resize(PAGE);
      one.resize(6000 * PAGE);
      assert.deepEqual(texts(one, 0, 1, 2, 2048), ["o0..", "....", "....", "...."]);
    }
    trial.snap.purge();
    for (const next of [trial, afterDeath(trial)]) {
      assert.deepEqual(texts(find(next, "disk"), 0, 1, 2, 2048), ["o0..", "....", "....", "...."]);
      assert.deepEqual(texts(find(next, "clone"), 0, 1, 2, 2048), ["o0..", "....", "....", "...."]);
    }
  });
});

describe("promotion", () => {
  test("of a snapshot puts back what was; the snapshot stays, and what was replaced can be undeleted", () => {
    const trial = shared();
    trial.disk.write(0, Buffer.from("bad!"));
    trial.snap.promote(trial.disk);
    assert.throws(() => trial.disk.write(0, Uint8Array.of(1)), refusal("ENOENT"), "handles of what was replaced");
    for (const next of everyLife(trial)) {
      assert.deepEqual(texts(find(next, "disk"), 0, 1), ["o0..", "o1.."]);
      assert.ok(find(next, "snap").isReadOnly);
      assert.ok(!find(next, "disk").isReadOnly);
    }
    const last = afterClose(trial);
    last.region.undelete("test", "disk", { as: "was" });
    assert.deepEqual(texts(find(last, "was"), 0, 1), ["bad!", "o1.."]);
  });

  test("of a clone gives it the name, and its own is free", () => {
    const trial = shared();
    const clone = trial.snap.clone("clone");
    clone.write(0, Buffer.from("good"));
    clone.promote(trial.disk);
    clone.write(1, Buffer.from("more"));
    for (const next of [trial, afterDeath(trial)]) {
      assert.deepEqual(names(next), ["disk", "snap"]);
      assert.deepEqual(texts(find(next, "disk"), 0, 1), ["good", "more"]);
    }
  });

  test("is refused onto a snapshot, onto itself, and into another subsystem", () => {
    const { region, disk, snap } = shared();
    const other = region.instance("other", "thing", { create: true });
    assert.throws(() => disk.promote(snap), refusal("READ_ONLY"));
    assert.throws(() => disk.promote(disk), refusal("EINVAL"));
    assert.throws(() => disk.promote(other), refusal("EINVAL"));
    const page = disk.ensure(7);
    assert.throws(() => snap.promote(disk), refusal("EBUSY"));
    page[Symbol.dispose]();
    assert.deepEqual(texts(disk, 0), ["o0.."]);
  });
});

describe("deleting", () => {
  test("a snapshot gives the only layer over it what it held, and frees the rest", () => {
    const trial = shared();
    for (const index of [0, 1]) trial.disk.write(index, Buffer.from("new."));
    const { pageCount } = trial.disk;
    assert.equal(
      pagesTaken(trial, () => trial.snap.purge()),
      -2,
    );
    assert.equal(trial.disk.pageCount, pageCount + 2);
    for (const next of everyLife(trial)) {
      const disk = find(next, "disk");
      assert.deepEqual(texts(disk, 0, 1, 2, 2048), ["new.", "new.", "o2..", "o204"]);
      assert.equal(disk.parent, undefined);
      assert.equal(disk.countShared(), 0);
    }
  });

  test("a snapshot with several layers over it hides it; its pages stay as long as two of them need them", () => {
    const trial = shared();
    const clone = trial.snap.clone("clone");
    assert.equal(
      pagesTaken(trial, () => trial.snap.purge()),
      0,
    );
    assert.throws(() => find(trial, "snap"), refusal("ENOENT"));
    assert.deepEqual([trial.disk.parent, clone.parent], [undefined, undefined], "what is hidden has no name");
    for (const next of [trial, afterDeath(trial)]) {
      assert.deepEqual(texts(find(next, "disk"), 0, 2048), ["o0..", "o204"]);
      find(next, "clone").purge();
      assert.deepEqual(texts(find(next, "disk"), 0, 2048), ["o0..", "o204"]);
      assert.equal(find(next, "disk").pageCount, 4);
    }
  });

  test("everything in any order leaves every page free", () => {
    for (const order of ["dsc", "dcs", "sdc", "scd", "cds", "csd"]) {
      const trial = freshRegion(400);
      const { region } = trial;
      region.instance("test", "first", { create: true }).purge();
      const disk = region.instance("test", "disk", { create: true });
      const clone = disk.snapshot("snap").clone("clone");
      const before = region.info().freePages;
      for (let index = 0; index < 20; index++) {
        clone.write(index, Buffer.from("c"));
        disk.write(2 * index, Buffer.from("d"));
      }
      const letters: Record<string, string> = { d: "disk", s: "snap", c: "clone" };
      for (const letter of order) find(trial, letters[letter]).purge();
      assert.equal(region.info().freePages, before, order);
      assert.deepEqual(region.list(), []);
    }
  });
});

describe("a reader", () => {
  test("sees layers, holds pages of them, and changes nothing", () => {
    const trial = shared();
    trial.disk.write(0, Buffer.from("new0"));
    trial.disk.free(1);
    const region = PageRegion.attach(new ReaderMemory(trial.recording.recorded));
    const disk = region.instance("test", "disk");
    assert.deepEqual(texts(disk, 0, 1, 2, 2048), ["new0", "....", "o2..", "o204"]);
    using page = disk.get(2);
    assert.equal(Buffer.from(page.bytes).toString("latin1", 0, 2), "o2");
    const acts: (() => unknown)[] = [
      () => disk.snapshot("other"),
      () => region.instance("test", "snap").clone("other"),
      () => region.instance("test", "snap").promote(disk),
      () => disk.rename("other"),
      () => disk.delete(),
      () => disk.purge(),
      () => disk.setQuota({ maxPages: 9 }),
      () => region.upgrade(),
    ];
    for (const act of acts) assert.throws(act, refusal("READ_ONLY"), String(act));
  });
});
