import { assert, isSealed, seal } from "../base/index.ts";
import { formatTypeOf, superblockBytes, superblockHead, writeMagic, writeType } from "../format/index.ts";
import { type Memory, persist } from "../memory/index.ts";
import { kind, kindOf } from "./claim.ts";
import { readDual, writeDual } from "./dual-record.ts";
import { type FrameEntry, readEntry } from "./frame-table.ts";
import { entryBytes, type Shape } from "./geometry.ts";
import {
  formatType,
  geometryLayout,
  type RegionStateRecord,
  recordLayout,
  regionState,
  stateLayout,
  stateSlots,
} from "./layout.ts";
import type { PlannedMemory } from "./planned-memory.ts";
import { isSound } from "./read-directory.ts";

/** A part of the memory and how it will be. */
interface Piece {
  readonly offset: number;
  readonly bytes: Uint8Array;
}

/** What a plan changes, by what it is. */
interface Changes {
  /** Content of pages that nothing reaches before they are claimed. */
  readonly unreachable: Piece[];
  /** Entries of pages of the directory and of metadata. */
  readonly own: [page: number, entry: FrameEntry][];
  readonly slots: Piece[];
  readonly entries: [page: number, entry: FrameEntry][];
  /** Words of masks and of the seal table. */
  readonly words: [offset: number, value: number][];
  readonly checksums: Piece[];
}

/**
 * Carries a plan out. From its first store to its last the state record says that the region is being repaired: nobody
 * opens it, and a repair that was cut off is begun anew on what it left. What claims need is there before them.
 *
 * @param before the state record as it counts before the repair
 * @param sequence the highest one of the plan
 * @throws ENOSPC when the backing lacks room for what is stored; nothing was stored then
 */
export function storeRepair(
  memory: Memory,
  planned: PlannedMemory,
  shape: Shape,
  before: RegionStateRecord,
  sequence: number,
): void {
  allocateChanges(memory, planned);
  // The plan stands on the memory, so all of it is read before the first store.
  const changes = changesOf(memory, planned, shape);
  const geometry = planned.read(superblockHead.sizeBytes, geometryLayout.sizeBytes - superblockHead.sizeBytes);
  const after = stateOf(planned);
  memory.flushAll();
  memory.fence();
  storeGeometry(memory, geometry);
  // With the mark as it was: entries above it are not written yet.
  storeState(memory, { ...before, state: regionState.repairing, sequence: sequence + 1 });
  for (const { offset, bytes } of changes.unreachable) storePiece(memory, offset, bytes);
  memory.fence();
  storeEntries(memory, shape, changes.own);
  storeSlots(memory, changes.slots);
  storeEntries(memory, shape, changes.entries);
  for (const [offset, value] of changes.words) {
    memory.commit32(offset, value);
    memory.flush(offset, 4);
  }
  for (const { offset, bytes } of changes.checksums) storePiece(memory, offset, bytes);
  memory.fence();
  storeState(memory, { ...after, sequence: sequence + 2 });
  storeHead(memory);
  memory.sync();
}

/** Holes elsewhere are none of a repair's: whoever opens a region fills those that it must not have. */
function allocateChanges(memory: Memory, planned: PlannedMemory): void {
  const { space } = memory;
  if (space === undefined) return;
  let run = { start: 0, end: superblockBytes };
  for (const { offset, bytes } of planned.changes()) {
    if (offset > run.end) {
      space.allocate(run.start, run.end - run.start);
      run = { start: offset, end: offset };
    }
    run.end = Math.max(run.end, offset + bytes.length);
  }
  space.allocate(run.start, run.end - run.start);
}

/** The state record that counts in a plan, where one does. */
function stateOf(planned: PlannedMemory): RegionStateRecord {
  const [a, b] = [stateSlots.a, stateSlots.b].map((slot) => planned.read(slot, stateLayout.sizeBytes));
  const dual = readDual(stateLayout, stateSlots, a, b);
  assert(dual.kind === "valid", "a plan has a state record");
  return stateLayout.decode(dual.bytes);
}

function isWritten(memory: Memory, slot: number): boolean {
  return isSealed(memory.read(slot, stateLayout.sizeBytes), stateLayout.fields.crc);
}

function storePiece(memory: Memory, offset: number, bytes: Uint8Array): void {
  memory.fill(offset, bytes);
  memory.flush(offset, bytes.length);
}

function storeGeometry(memory: Memory, bytes: Uint8Array): void {
  const from = superblockHead.sizeBytes;
  if (Buffer.compare(bytes, memory.read(from, bytes.length)) === 0) return;
  memory.fill(from, bytes);
  persist(memory, from, bytes.length);
}

/** Both slots, the one that does not count first. */
function storeState(memory: Memory, state: RegionStateRecord): void {
  const encoded = seal(stateLayout.encode(state), stateLayout.fields.crc);
  const isFirst = !isWritten(memory, stateSlots.a) || isWritten(memory, stateSlots.b);
  const [older, newer] = isFirst ? [stateSlots.a, stateSlots.b] : [stateSlots.b, stateSlots.a];
  writeDual(memory, older, newer, encoded);
}

// Magic last: without it nobody takes the memory for a region.
function storeHead(memory: Memory): void {
  if (formatTypeOf(memory.read(0, superblockHead.sizeBytes)) === formatType) return;
  writeType(memory, formatType);
  persist(memory, 0, superblockHead.sizeBytes);
  writeMagic(memory);
  persist(memory, 0, superblockHead.sizeBytes);
}

function storeEntries(memory: Memory, shape: Shape, entries: Changes["entries"]): void {
  for (const [page, { index, claim }] of entries) {
    memory.commit64(shape.entryOffset(page), index, claim);
    memory.flush(shape.entryOffset(page), entryBytes);
  }
  memory.fence();
}

// One after the other, so that of a record that counts one slot does at any time.
function storeSlots(memory: Memory, slots: readonly Piece[]): void {
  const counts = ({ offset }: Piece): boolean =>
    isSealed(memory.read(offset, recordLayout.sizeBytes), recordLayout.fields.crc);
  for (const { offset, bytes } of [...slots.filter((slot) => !counts(slot)), ...slots.filter(counts)]) {
    storePiece(memory, offset, bytes);
    memory.fence();
  }
}

function changesOf(memory: Memory, planned: PlannedMemory, shape: Shape): Changes {
  const changes: Changes = { unreachable: [], own: [], slots: [], entries: [], words: [], checksums: [] };
  const tableEnd = shape.checksumsOffset;
  for (const { offset, bytes } of planned.changes()) {
    const end = offset + bytes.length;
    if (end <= superblockBytes) continue;
    if (offset >= shape.firstPage * shape.pageBytes) collectContent(memory, planned, shape, { offset, bytes }, changes);
    else {
      for (let at = offset; at < Math.min(end, tableEnd); at += entryBytes)
        collectEntry(memory, planned, shape, at, changes);
      const list = Math.max(offset, tableEnd);
      const listEnd = Math.min(end, shape.sealsOffset);
      if (list < listEnd) changes.checksums.push({ offset: list, bytes: planned.read(list, listEnd - list) });
      collectWords(memory, planned, Math.max(offset, shape.sealsOffset), end, changes);
    }
  }
  return changes;
}

function collectEntry(memory: Memory, planned: PlannedMemory, shape: Shape, at: number, changes: Changes): void {
  const page = (at - shape.tableOffset) / entryBytes;
  const [now, then] = [memory, planned].map((one) => readEntry(one, shape, page));
  if (now.index === then.index && now.claim === then.claim) return;
  const isOwn = kindOf(then.claim) === kind.directory || kindOf(then.claim) === kind.meta;
  (isOwn ? changes.own : changes.entries).push([page, then]);
}

function collectContent(memory: Memory, planned: PlannedMemory, shape: Shape, piece: Piece, changes: Changes): void {
  const page = Math.floor(piece.offset / shape.pageBytes);
  const [now, then] = [memory, planned].map((one) => readEntry(one, shape, page));
  if (kindOf(then.claim) !== kind.table) {
    const isReached = kindOf(now.claim) === kind.directory && isSound(page, now.index, now.claim);
    (isReached ? changes.slots : changes.unreachable).push(piece);
    return;
  }
  collectWords(memory, planned, piece.offset, piece.offset + piece.bytes.length, changes);
}

function collectWords(memory: Memory, planned: PlannedMemory, from: number, end: number, changes: Changes): void {
  for (let at = from; at < end; at += 4) {
    const value = planned.load32(at);
    if (value !== memory.load32(at)) changes.words.push([at, value]);
  }
}
