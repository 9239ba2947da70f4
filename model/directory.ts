import { kindOf, makeClaim, ownerOf, revisionOf } from "./check-code.ts";
import { writeDual } from "./dual-record.ts";
import {
  DELETING,
  DIRECTORY,
  directoryOwner,
  firstOwner,
  frameAt,
  indexLimit,
  type Kind,
  LIVE,
  PENDING,
  pageAt,
  RECORD_FREE,
} from "./layout.ts";
import type { RecordName } from "./mutant-names.ts";
import { claim, claimOf, fillPage, takePage, withdrawAll } from "./pages.ts";
import { type Entry, emptyEntry, type Region } from "./region.ts";
import type { Task } from "./tasks.ts";
import type { Writer } from "./writer.ts";

/** Takes a free record, or a place for one, without a store; -1 when there is none. */
export function reserveRecord(region: Region): number {
  const isFree = (entry: Entry, d: number): boolean => entry.state === RECORD_FREE && !region.takenRecords.has(d);
  let d = region.directory.findIndex((entry, k) => entry.page >= 0 && isFree(entry, k));
  if (d < 0) d = region.directory.findIndex(isFree);
  // Taken in the same step as found, or two threads write one record.
  if (d >= 0 && !region.mutants.has("record-taken-late")) region.takenRecords.add(d);
  return d;
}

/** Takes a free record, growing the directory by a page when there is none; -1 when that is impossible. */
export function* takeRecord(writer: Writer): Task<number> {
  const { region } = writer;
  yield;
  const d = reserveRecord(region);
  if (d < 0 || region.directory[d].page >= 0) return d;
  const page = yield* takePage(writer);
  if (page < 0) {
    region.takenRecords.delete(d);
    return -1;
  }
  yield* growDirectory(writer, d, page);
  return d;
}

/** Makes the page of a reserved record. The record's own first fence covers the claim. */
export function* growDirectory(writer: Writer, d: number, page: number): Task<void> {
  const { region } = writer;
  const name = { owner: directoryOwner, kind: DIRECTORY, index: d };
  if (region.mutants.has("directory-claim-before-fill")) yield* claim(writer, page, name, 0);
  // Rule 1: an old page's content would be read as a damaged record.
  fillPage(writer, page, [0, 0]);
  writer.fence("directory.content");
  if (!region.mutants.has("directory-claim-before-fill")) yield* claim(writer, page, name, 0);
  region.directory[d] = emptyEntry(page);
}

/** Rewrites a record. Sequences come from one counter of the region, so that the newer of two records is known. */
export function* writeRecord(writer: Writer, d: number, change: Partial<Entry>, record: RecordName): Task<void> {
  const { region } = writer;
  const old = region.directory[d];
  const last = region.mutants.has("sequence-per-record") ? old.sequence : region.sequence;
  if (region.mutants.has("sequence-in-two-steps")) yield;
  const sequence = last + 1;
  region.sequence = Math.max(region.sequence, sequence);
  const entry: Entry = { ...old, ...change, sequence };
  const values = [sequence, entry.state, entry.owner, entry.name, entry.size, entry.source];
  yield* writeDual(writer, pageAt(entry.page), values, record);
  region.directory[d] = entry;
  region.takenRecords.delete(d);
}

/** Writes the pending record of a new instance into a taken slot. */
export function* createIn(
  writer: Writer,
  d: number,
  instance: { name: number; size: number; source?: number },
): Task<void> {
  const { region } = writer;
  const state = region.mutants.has("created-live") ? LIVE : PENDING;
  const owner = region.mutants.has("owner-numbers-reused") ? lowestOwner(region) : region.nextOwner++;
  yield* writeRecord(writer, d, { state, owner, source: 0, ...instance }, "create");
}

/** The harmless mutant that gives out the number of a deleted instance again. */
function lowestOwner(region: Region): number {
  let owner = firstOwner;
  while (region.directory.some((entry) => entry.owner === owner)) owner++;
  return owner;
}

/** Makes a pending instance live: one record commits all its pages. `committed` runs in the same step. */
export function* publishRecord(writer: Writer, d: number, committed: () => void = () => undefined): Task<void> {
  const { region } = writer;
  const { mutants } = region;
  const old = region.find(region.directory[d].name);
  const replaced = old >= 0 && old !== d;
  // Pages of a pending instance are only flushed; one fence makes all of them durable.
  writer.fence("publish.pages");
  if (replaced && mutants.has("old-deleted-before-publish")) yield* reap(writer, old);
  yield* writeRecord(writer, d, { state: LIVE, source: 0 }, "publish");
  committed();
  if (replaced && !mutants.has("old-deleted-before-publish")) yield* reap(writer, old);
}

/** Deletes an instance: mark it, withdraw its pages, and only when that is durable free its record. */
export function* reap(writer: Writer, d: number): Task<void> {
  const { region } = writer;
  const { mutants } = region;
  const { owner } = region.directory[d];
  const early = mutants.has("page-table-cleared-first") ? takeOutPages(region, owner, 0) : [];
  const withdrawPages = (): Task<void> => {
    return withdrawAll(writer, [...early, ...takeOutPages(region, owner, 0)], "delete.pages");
  };
  writer.settle();
  if (mutants.has("delete-pages-before-mark")) yield* withdrawPages();
  if (!mutants.has("delete-without-mark")) yield* writeRecord(writer, d, { state: DELETING }, "delete.mark");
  const recordFirst = mutants.has("delete-record-before-pages") || mutants.has("delete-without-mark");
  if (recordFirst) yield* freeRecord(writer, d, "delete.free");
  // A reader takes a name without a page for a hole, so names leave the page table when the record says so.
  yield* withdrawPages();
  if (!recordFirst) yield* freeRecord(writer, d, "delete.free");
}

export function* freeRecord(writer: Writer, d: number, record: RecordName): Task<void> {
  yield* writeRecord(writer, d, { state: RECORD_FREE, owner: 0, name: 0, size: 0, source: 0 }, record);
}

/** Names and pages of an instance, from its page tables. */
export function pagesOf(region: Region, owner: number): { kind: Kind; index: number; page: number }[] {
  const found: { kind: Kind; index: number; page: number }[] = [];
  for (const [key, page] of region.tables) {
    const kind = (Math.floor(key / indexLimit) % 16) as Kind;
    if (Math.floor(key / indexLimit / 16) === owner) found.push({ kind, index: key % indexLimit, page });
  }
  return found;
}

/** Removes the pages at or above an index from the page tables and returns them. */
export function takeOutPages(region: Region, owner: number, index: number): number[] {
  const found = pagesOf(region, owner).filter((place) => place.index >= index);
  for (const place of found) region.clearPage({ owner, kind: place.kind, index: place.index });
  return found.map((place) => place.page);
}

/** Gives a page to another instance at the same kind and index: one 32-bit store. */
export function giveTo(writer: Writer, page: number, owner: number): void {
  const { memory } = writer;
  const at = frameAt(page);
  const word = claimOf(writer, page);
  const name = { owner, kind: kindOf(word) as Kind, index: memory.words[at] };
  if (ownerOf(word) !== owner) memory.commit32(at + 1, makeClaim(page, name, revisionOf(word)));
  memory.flush(at, 2);
}
