/**
 * Hazard: a thread that meets another one in the middle of a change finds nothing under a name that is always there, or
 * goes on with what it knew before. The search over steps (test/crash/steps.ts) found these; here two threads are two
 * handles of one region, and the second one acts at a chosen place of the first.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { isPerdureError } from "../src/base/index.ts";
import { attachMemory } from "../src/format/index.ts";
import { type Instance, type OpenRegion, PageRegion } from "../src/region/index.ts";
import { waiting } from "../src/region/locks.ts";
import { Recording, RecordingMemory } from "../src/testing/index.ts";
import { SteppedMemory } from "../src/testing/stepped-memory.ts";
import { joinRecorded } from "./crash/joined-region.ts";
import { formattedImage, openCopy, refusal } from "./support/region.ts";

interface Pair {
  readonly recording: Recording;
  readonly ours: PageRegion;
  readonly theirs: PageRegion;
  readonly disk: Instance;
}

/** A region with a disk of one page, and the same as a second thread has it; `onLoad` is called before its loads. */
function pair(onLoad: () => void = () => undefined): Pair {
  const recording = new Recording(formattedImage(320));
  const memory = new RecordingMemory(recording, 1);
  const attached = attachMemory<OpenRegion>(memory);
  const ours = new PageRegion(memory, attached);
  const disk = ours.instance("test", "disk", { create: true, sizeBytes: 8 * 512 });
  for (const index of [0, 1]) disk.write(index, Buffer.from("old"));
  const theirs = joinRecorded(new SteppedMemory(recording, 2, onLoad), attached.handle.share()).region;
  return { recording, ours, theirs, disk };
}

/** Runs `act`; before each of its locks and gates, and after each lock, another thread does `meanwhile`. */
function interrupted(act: () => void, meanwhile: (passed: number) => void): number {
  let passed = 0;
  const pass = (): void => {
    // What the other thread does is not interrupted.
    waiting.pass = undefined;
    meanwhile(++passed);
    waiting.pass = pass;
  };
  waiting.pass = pass;
  try {
    act();
    return passed;
  } finally {
    waiting.pass = undefined;
  }
}

const start = (instance: Instance): string => Buffer.from(instance.read(0)).toString("latin1", 0, 3);

test("a disk is found under its name at every moment of a snapshot of it", () => {
  const { recording, ours, theirs, disk } = pair();
  const met: Instance[] = [];
  const look = (): void => void met.push(theirs.instance("test", "disk"));
  recording.before = look;
  assert.ok(interrupted(() => disk.snapshot("first"), look) > 5);
  recording.before = undefined;
  ours.instance("test", "disk").write(0, Buffer.from("new"));
  for (const instance of met) assert.deepEqual([instance.name, instance.isReadOnly], ["disk", false]);
  assert.equal(start(met[met.length - 1]), "new");
  assert.equal(start(theirs.instance("test", "first")), "old");
});

test("a snapshot that is met half-way leaves no name behind when the disk is renamed", () => {
  for (let at = 1, isOver = false; !isOver; at++) {
    const { theirs, disk } = pair();
    // They look once, and then not before the disk has another name.
    const look = (passed: number): void => void (passed === at && theirs.instance("test", "disk"));
    isOver = interrupted(() => disk.snapshot("first"), look) < at;
    disk.rename("moved");
    assert.throws(() => theirs.instance("test", "disk"), refusal("ENOENT"));
    assert.deepEqual(
      theirs.list().map(({ name }) => name),
      ["first", "moved"],
    );
  }
});

test("of two threads that make one instance each opens what the first has made", () => {
  const { ours, theirs } = pair();
  const make = (region: PageRegion): Instance => region.instance("test", "cid", { create: true, sizeBytes: 512 });
  const makeFirst = (passed: number): void => void (passed === 1 && make(theirs).write(0, Buffer.from("old")));
  interrupted(() => make(ours).write(0, Buffer.from("our")), makeFirst);
  assert.equal(start(theirs.instance("test", "cid")), "our");
});

test("a write that was on its way when a save began does not go into a page that the save has taken", () => {
  // At the gate, and at the lock of the page.
  for (const at of [1, 2]) {
    const { recording, ours, theirs, disk } = pair();
    const save = (passed: number): void => {
      if (passed !== at) return;
      const source = { subsystem: "test", name: "disk" };
      disk.handOver(0, ours.instance("test", "saved", { pending: true, sizeBytes: 512, source }), 0);
    };
    const write = (): void => theirs.instance("test", "disk").write(0, Buffer.from("new"));
    assert.throws(() => interrupted(write, save), refusal("EBUSY"));
    assert.equal(start(openCopy(recording.image).region.instance("test", "disk")), "old");
  }
});

/** More loads than a read has in any of these tests. */
const LOST_AFTER = 5000;

/** A read of the disk by the second thread; before its `at`-th load the first one does `meanwhile`. */
function readInterrupted(prepare: (one: Pair) => () => void, at: number): { text: string; loads: number } {
  let loads = Number.NEGATIVE_INFINITY;
  let meanwhile = (): void => undefined;
  const both = pair(() => {
    assert.ok(++loads < LOST_AFTER, "the read comes to an end");
    if (loads === at) meanwhile();
  });
  const found = both.theirs.instance("test", "disk");
  meanwhile = prepare(both);
  loads = 0;
  try {
    return { text: start(found), loads };
  } catch (error) {
    assert.ok(isPerdureError(error, "ENOENT"), String(error));
    return { text: "gone", loads };
  }
}

test("a read finds what is shared, wherever another thread merges the layers below meanwhile", () => {
  for (let at = 1, loads = at; at <= loads; at++) {
    const read = readInterrupted(({ disk, ours, theirs }) => {
      disk.snapshot("low");
      const middle = disk.snapshot("middle");
      // The reader is to learn of the disk first, and then of the layer that ends.
      theirs.list();
      disk.setAttributes(Uint8Array.of(1));
      middle.rename("ending");
      return () => ours.instance("test", "ending").purge();
    }, at);
    loads = read.loads;
    assert.equal(read.text, "old");
  }
});

test("a read of an instance that a save replaces meanwhile comes to an end", () => {
  const ends = new Set<string>();
  for (let at = 1, loads = at; at <= loads; at++) {
    const read = readInterrupted(({ disk, ours }) => {
      disk.snapshot("low");
      // So that there is a mask, and a read looks at it again and again.
      disk.free(1);
      disk.snapshot("middle");
      const save = ours.instance("test", "disk", { pending: true, over: true, sizeBytes: 8 * 512 });
      save.write(0, Buffer.from("new"));
      return () => save.publish();
    }, at);
    loads = read.loads;
    ends.add(read.text);
  }
  assert.deepEqual(ends, new Set(["gone", "old"]));
});
