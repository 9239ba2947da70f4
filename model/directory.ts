import { kindOf, makeClaim, ownerOf, revisionOf } from "./check-code.ts";
import { writeDual } from "./dual-record.ts";
import {
  DELETED,
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
  TABLE,
  tableIndices,
} from "./layout.ts";
import type { RecordName } from "./mutant-names.ts";
import { claim, claimOf, fillPage, takePage } from "./pages.ts";
import { type Entry, emptyEntry, freeEntry, wordsOf } from "./record.ts";
import type { Region } from "./region.ts";
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

/**
 * Rewrites a record on the media and returns it. Sequences come from one counter of the region, so that the newer of
 * two records is known. A successor is named by the record that gives up its name, and by no later one.
 */
export function* storeRecord(writer: Writer, d: number, change: Partial<Entry>, record: RecordName): Task<Entry> {
  const { region } = writer;
  const { mutants, locks } = region;
  if (!mutants.has("no-record-lock")) yield* locks.lock(writer.thread, `record ${d}`);
  const old = region.directory[d];
  const last = mutants.has("sequence-per-record") ? old.sequence : region.sequence;
  if (mutants.has("sequence-in-two-steps")) yield;
  const sequence = last + 1;
  region.sequence = Math.max(region.sequence, sequence);
  const successor = mutants.has("successor-kept") ? old.successor : 0;
  const entry: Entry = { ...old, successor, ...change, sequence };
  // Its age among the deleted: the sequence changes whenever the record is rewritten.
  if (entry.state === DELETED && old.state !== DELETED) entry.deletedAt = sequence;
  yield* writeDual(writer, pageAt(entry.page), wordsOf(entry), record);
  region.takenRecords.delete(d);
  locks.unlock(writer.thread, `record ${d}`);
  return entry;
}

export function* writeRecord(writer: Writer, d: number, change: Partial<Entry>, record: RecordName): Task<void> {
  writer.region.directory[d] = yield* storeRecord(writer, d, change, record);
}

/** What a new instance is made with. */
export interface NewInstance {
  readonly name: number;
  readonly size: number;
  readonly source?: number;
  readonly parent?: number;
  readonly reach?: number;
}

/** Writes the pending record of a new instance into a taken slot. */
export function* createIn(writer: Writer, d: number, instance: NewInstance): Task<void> {
  const state = writer.region.mutants.has("created-live") ? LIVE : PENDING;
  yield* writeRecord(writer, d, { ...freeEntry, state, owner: newOwner(writer.region), ...instance }, "create");
}

/** An owner number that no operation of this generation can still mean. */
export function newOwner(region: Region): number {
  if (!region.mutants.has("owner-numbers-reused")) return region.nextOwner++;
  let owner = firstOwner;
  while (region.directory.some((entry) => entry.owner === owner)) owner++;
  return owner;
}

export function* freeRecord(writer: Writer, d: number, record: RecordName): Task<void> {
  yield* writeRecord(writer, d, freeEntry, record);
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

/**
 * Removes the pages at or above a size from the page tables and returns them. TABLE pages of which every index is at or
 * above the reach mask nothing.
 */
export function takeOutPages(region: Region, owner: number, size: number, reach: number): number[] {
  const found = pagesOf(region, owner).filter(({ kind, index }) => {
    return kind === TABLE ? index * tableIndices >= reach : index >= size;
  });
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
