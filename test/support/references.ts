// Images of small regions with something of everything in them, for tests that damage them.

import { kind, kindOf } from "../../src/region/claim.ts";
import { analyze } from "../../src/region/index.ts";
import { type MemoryEvent, Recording, RecordingMemory } from "../../src/testing/index.ts";
import { filled } from "../crash/operations.ts";
import { shapeOf } from "./images.ts";
import { freshRegion, type Trial } from "./region.ts";

/** A reference image, what it was a while before, and where its metadata stand, in page numbers. */
export interface Reference {
  readonly image: Uint8Array;
  readonly older: Uint8Array;
  readonly pageBytes: number;
  readonly table: readonly number[];
  readonly directory: readonly number[];
  /** Pages of masks. */
  readonly masks: readonly number[];
  /** All of it: superblock, table, checksums, directory, masks, copy of the geometry. */
  readonly metadata: readonly number[];
}

const PAGES = 128;
const PAGE_BYTES = 512;

/** A few instances with single pages, a run and replaced pages; each has pages, so that none can vanish unseen. */
function populated(): Trial {
  const trial = freshRegion(PAGES, { chunkPages: 32 });
  const { region } = trial;
  const make = (name: string, pages: number) =>
    region.instance("crash", name, { create: true, sizeBytes: pages * PAGE_BYTES });
  const [ann, bob, doomed] = [make("ann", 300), make("bob", 300), make("doomed", 9)];
  for (const index of [0, 1, 255, 256]) ann.write(index, filled(100 + index));
  for (const index of [0, 1]) ann.write(index, filled(200 + index));
  bob.write(0, filled(300));
  bob.ensureRun(4, 2)[Symbol.dispose]();
  bob.setAttributes(Uint8Array.of(7));
  doomed.write(0, filled(400));
  doomed.purge();
  return trial;
}

function change({ region }: Trial): void {
  const [ann, bob] = ["ann", "bob"].map((name) => region.instance("crash", name));
  ann.write(255, filled(500));
  ann.handOver(0, bob, 9);
  bob.setAttributes(Uint8Array.of(8));
  for (let index = 20; index < 50; index++) bob.write(index, filled(index));
}

/**
 * Layers of every kind: "ann" on the snapshot "second" on a hidden layer, on which "cleo" stands, too, with masks; the
 * deleted "gone"; "bob" with a quota and a run.
 */
function layered(checksums: boolean): Trial {
  const trial = freshRegion(PAGES, { chunkPages: 32, checksums });
  const { region } = trial;
  const make = (name: string, pages: number) =>
    region.instance("crash", name, { create: true, sizeBytes: pages * PAGE_BYTES });
  const [ann, bob, gone] = [make("ann", 300), make("bob", 300), make("gone", 9)];
  for (const index of [0, 1, 2, 3, 4, 255, 256]) ann.write(index, filled(100 + index));
  const first = ann.snapshot("first");
  first.clone("cleo").write(5, filled(205));
  ann.write(0, filled(200));
  for (const index of [1, 2, 3]) ann.free(index);
  region.instance("crash", "cleo").free(255);
  ann.snapshot("second");
  ann.write(256, filled(300));
  ann.free(4);
  first.purge();
  bob.write(0, filled(400));
  bob.ensureRun(4, 2)[Symbol.dispose]();
  bob.setQuota({ minPages: 6, maxPages: 60 });
  bob.setAttributes(Uint8Array.of(7));
  gone.write(0, filled(500));
  gone.write(1, filled(501));
  gone.delete();
  return trial;
}

/** A region with layers that was closed. */
export function closedLayers(checksums = false): Reference {
  const trial = layered(checksums);
  const older = trial.recording.image.slice();
  const bob = trial.region.instance("crash", "bob");
  bob.setAttributes(Uint8Array.of(8));
  bob.write(0, filled(600));
  trial.region[Symbol.dispose]();
  return referenceOf(trial.recording.image, older);
}

/** A region with layers whose owner died inside of a replace, with a save under way. */
export function crashedLayers(checksums = false): Reference {
  const trial = layered(checksums);
  return dyingInReplace(trial, trial.recording.image.slice(), { saved: 0, replaced: 256 });
}

function referenceOf(image: Uint8Array, older: Uint8Array): Reference {
  const shape = shapeOf(image);
  const { directoryPages } = analyze(new RecordingMemory(new Recording(image.slice())));
  const masks = Array.from({ length: shape.pages }, (_, page) => page).filter((page) => {
    const view = new DataView(image.buffer, shape.entryOffset(page));
    return kindOf(view.getUint32(4, true)) === kind.table;
  });
  const own = Array.from({ length: shape.firstPage }, (_, page) => page);
  const isTable = (page: number): boolean => {
    const offset = page * PAGE_BYTES;
    return offset >= shape.tableOffset && offset < shape.checksumsOffset;
  };
  return {
    image,
    older,
    pageBytes: PAGE_BYTES,
    table: own.filter(isTable),
    directory: directoryPages,
    masks,
    metadata: [...own, ...directoryPages, ...masks, shape.lastPage],
  };
}

/** A region that was closed. */
export function closedReference(): Reference {
  const trial = populated();
  const older = trial.recording.image.slice();
  change(trial);
  trial.region[Symbol.dispose]();
  return referenceOf(trial.recording.image, older);
}

/** A region whose owner died with a save under way, volatile pages, and inside of a replace. */
export function crashedReference(): Reference {
  const trial = populated();
  const older = trial.recording.image.slice();
  change(trial);
  return dyingInReplace(trial, older, { saved: 9, replaced: 1 });
}

function dyingInReplace(
  trial: Trial,
  older: Uint8Array,
  { saved, replaced }: { saved: number; replaced: number },
): Reference {
  const { region, recording } = trial;
  const [ann, bob] = ["ann", "bob"].map((name) => region.instance("crash", name));
  ann.ensureVolatile(3)[Symbol.dispose]();
  const save = region.instance("crash", "save", { pending: true, source: { subsystem: "crash", name: "bob" } });
  bob.handOver(saved, save, saved);
  const image = recording.image.slice();
  recording.events = [];
  ann.write(replaced, filled(600));
  // All but the last store, which withdraws the old page: both claims are there.
  const isStore = (event: MemoryEvent) => event.kind === "store";
  for (const event of recording.events.filter(isStore).slice(0, -1)) image.set(event.bytes, event.offset);
  return referenceOf(image, older);
}
