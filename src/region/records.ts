import { seal } from "../base/index.ts";
import type { Memory } from "../memory/index.ts";
import type { RegionCore } from "./core.ts";
import { type Slots, writeDual } from "./dual-record.ts";
import type { Shape } from "./geometry.ts";
import { firstOwner, type InstanceRecord, maxOwner, recordBytes, recordLayout } from "./layout.ts";

/** Byte offsets of the slots of a record, or undefined when one of its pages is missing. */
export function recordSlots(shape: Shape, directoryPages: readonly number[], record: number): Slots | undefined {
  const at = (start: number): number => {
    const page = directoryPages[Math.floor(start / shape.pageBytes)];
    return page === undefined || page === 0 ? -1 : shape.pageOffset(page) + (start % shape.pageBytes);
  };
  const a = at(record * recordBytes);
  const b = at(record * recordBytes + recordLayout.sizeBytes);
  return a < 0 || b < 0 ? undefined : { a, b };
}

/** Rewrites a record with the next sequence. The caller holds the lock of the directory. @returns it as written */
export function writeRecord(memory: Memory, core: RegionCore, record: InstanceRecord): InstanceRecord {
  const slots = recordSlots(core.shape, core.directoryPages, record.owner - firstOwner);
  if (slots === undefined) throw new Error(`the record of owner ${record.owner} has no page`);
  const next = { ...record, sequence: core.nextSequence() };
  writeDual(memory, slots.a, slots.b, seal(recordLayout.encode(next), recordLayout.fields.crc));
  return next;
}

/** A record of zeroes, to start from. */
export function blankRecord(owner: number): InstanceRecord {
  return { ...recordLayout.decode(new Uint8Array(recordLayout.sizeBytes)), owner };
}

/** How many whole records the directory holds. */
export function recordCapacity(shape: Shape, directoryPages: readonly number[]): number {
  const records = Math.floor((directoryPages.length * shape.pageBytes) / recordBytes);
  return Math.min(records, maxOwner - firstOwner + 1);
}

/** The first index that does not belong to an instance of that size. */
export function limitOf(sizeBytes: number, pageBytes: number): number {
  return Math.min(Math.ceil(sizeBytes / pageBytes), 2 ** 32);
}

/** The largest size that an instance can have: 2^32 indices, in numbers that are exact. */
export function maxSizeOf(pageBytes: number): number {
  return Math.min(2 ** 32 * pageBytes, Number.MAX_SAFE_INTEGER);
}

/** The key of a name in maps: a subsystem never holds a NUL. */
export function nameKey(subsystem: string, name: string): string {
  return `${subsystem}\0${name}`;
}
