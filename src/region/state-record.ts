import { seal } from "../base/index.ts";
import { fillAcrossWindows, type Memory, persist } from "../memory/index.ts";
import { kind, makeClaim } from "./claim.ts";
import type { RegionCore } from "./core.ts";
import { writeDual } from "./dual-record.ts";
import { entryBytes, type Shape } from "./geometry.ts";
import { type RegionStateRecord, regionOwner, stateLayout, stateSlots } from "./layout.ts";

/** Entries are made in steps of this many pages: 512 KiB of them. */
const STEP_PAGES = 65536;

/** Rewrites the superblock's record. The caller holds its lock. */
export function writeState(
  memory: Memory,
  core: RegionCore,
  change: Partial<RegionStateRecord>,
  loser: number = stateSlots.a,
): void {
  const next = { ...core.currentState(), ...change, sequence: core.nextSequence() };
  const encoded = seal(stateLayout.encode(next), stateLayout.fields.crc);
  writeDual(memory, loser, loser === stateSlots.a ? stateSlots.b : stateSlots.a, encoded);
  core.changeState(next);
}

/** Writes the entries of fresh pages: FREE, or META for metadata. They are unreachable: above the mark. */
export function writeFreshEntries(memory: Memory, shape: Shape, from: number, end: number): void {
  for (let start = from; start < end; start += STEP_PAGES) {
    const count = Math.min(STEP_PAGES, end - start);
    const entries = new Uint32Array(2 * count);
    for (let k = 0; k < count; k++) {
      const page = start + k;
      const isMetadata = shape.isMetadata(page);
      entries[2 * k] = isMetadata ? page : 0;
      entries[2 * k + 1] = isMetadata
        ? makeClaim(page, page, kind.meta, 0, regionOwner)
        : makeClaim(page, 0, kind.free, 0, 0);
    }
    fillAcrossWindows(memory, shape.entryOffset(start), new Uint8Array(entries.buffer));
  }
  persist(memory, shape.entryOffset(from), (end - from) * entryBytes);
}

/**
 * Raises the high-water mark by one chunk: all its entries, persist, mark, persist, and only then may any thread use
 * the chunk. The caller holds the lock of the record.
 */
export function raiseMark(memory: Memory, core: RegionCore): void {
  const { shape } = core;
  const from = core.words.mark;
  const end = Math.min(from + shape.chunkPages, shape.pages);
  core.chunks?.allocateEntries(from, end);
  try {
    writeFreshEntries(memory, shape, from, end);
    writeState(memory, core, { marks: [end, ...core.currentState().marks.slice(1)] });
  } catch (error) {
    throw core.failed(error);
  }
  if (core.chunks !== undefined) return core.chunks.raised(end);
  for (let page = from; page < end; page++) if (!shape.isMetadata(page)) core.freePages.release(page);
}
