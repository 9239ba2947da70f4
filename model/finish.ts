import { freeRecord, takeOutPages, writeRecord } from "./directory.ts";
import { DELETED, DELETING, LIVE, PENDING, type State } from "./layout.ts";
import { merge } from "./merge.ts";
import type { Mutants } from "./mutant-names.ts";
import { withdrawAll } from "./pages.ts";
import type { Entry } from "./record.ts";
import type { Region } from "./region.ts";
import type { Task } from "./tasks.ts";
import type { Writer } from "./writer.ts";

/** Makes a pending instance live: one record commits all its pages. `committed` runs in the same step. */
export function* publishRecord(writer: Writer, d: number, committed: () => void = () => undefined): Task<void> {
  const { region } = writer;
  const { mutants } = region;
  const old = region.find(region.directory[d].name);
  const replaced = old >= 0 && old !== d;
  // Pages of a pending instance are only flushed; one fence makes all of them durable.
  writer.fence("publish.pages");
  if (replaced && mutants.has("old-deleted-before-publish")) yield* retire(writer, old, region.directory[d]);
  yield* writeRecord(writer, d, { state: LIVE, source: 0 }, "publish");
  committed();
  if (replaced && !mutants.has("old-deleted-before-publish")) yield* retire(writer, old, region.directory[d]);
}

/** What becomes of an instance whose name a newer one has taken. */
export function* retire(writer: Writer, d: number, newer: Entry): Task<void> {
  const state = retiredState(writer.region.mutants, writer.region.directory[d], newer);
  yield* writeRecord(writer, d, { state }, "retire");
  if (state === DELETING) yield* finish(writer, d);
}

/** It is kept until its pages are needed; but a save that stands on the one it replaces takes that one in. */
export function retiredState(mutants: Mutants, older: Entry, newer: Entry): State {
  return newer.parent === older.owner && !mutants.has("replaced-parent-kept") ? DELETING : DELETED;
}

/** Whether an instance that is to end can: nothing stands on it, or one layer that may take it in. */
export function canFinish(region: Region, d: number): boolean {
  const { state, owner } = region.directory[d];
  if (state !== DELETING) return false;
  const children = region.childrenOf(owner);
  if (children.length > 1) return region.mutants.has("hidden-merged");
  return children.length === 0 || region.directory[children[0]].state !== PENDING;
}

/**
 * Ends an instance that says DELETING, as far as what stands on it allows: it stays, hidden, below several layers, and
 * is merged into a single one. Its end may let the one below end, too.
 */
export function* finish(writer: Writer, d: number): Task<void> {
  const { region } = writer;
  const { mutants } = region;
  writer.settle();
  for (let at = d; at >= 0 && canFinish(region, at); ) {
    const { owner, parent } = region.directory[at];
    const [child] = region.childrenOf(owner);
    if (child !== undefined && !mutants.has("child-forgotten")) {
      return yield* merge(writer, at, child);
    }
    const recordFirst = mutants.has("delete-record-before-pages");
    if (recordFirst) yield* freeRecord(writer, at, "delete.free");
    yield* withdrawAll(writer, takeOutPages(region, owner, 0, 0), "delete.pages");
    if (!recordFirst) yield* freeRecord(writer, at, "delete.free");
    at = region.directory.findIndex((entry) => entry.owner === parent && entry.state === DELETING);
  }
}
