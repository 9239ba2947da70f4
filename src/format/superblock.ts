import { Layout, u32 } from "../base/index.ts";
import type { Memory } from "../memory/index.ts";

/** The superblock is the first 4096 bytes of every memory, whatever the page size of its format. */
export const superblockBytes = 4096;

/**
 * The first 12 bytes of every superblock: those of `struct kmem_persist_superblock` in the proposal
 * "device-dax: kmem persistence" (RFC 2022, 2/4). What follows belongs to the format.
 */
export const superblockHead = new Layout("superblock head", 12, {
  magicLow: u32(0, "0x50455253: the low half of the magic 0x4b4d454d50455253"),
  magicHigh: u32(4, "0x4b4d454d: its high half"),
  type: u32(8, "number of the format, of odd parity: one flipped bit never names another format"),
});

const MAGIC_LOW = 0x50455253;
const MAGIC_HIGH = 0x4b4d454d;
/** Stands in the place of the magic while a memory is formatted: its complement, which no flipped bits make of it. */
const MARK_LOW = 0xafbaadac;
const MARK_HIGH = 0xb4b2bab2;

/** @returns the type that a superblock names, or undefined when its magic is not there */
export function formatTypeOf(head: Uint8Array): number | undefined {
  const { magicLow, magicHigh, type } = superblockHead.decode(head);
  return magicLow === MAGIC_LOW && magicHigh === MAGIC_HIGH ? type : undefined;
}

/** Names the format in the superblock. */
export function writeType(memory: Memory, type: number): void {
  memory.commit32(superblockHead.fields.type.offset, type);
}

/** Makes the superblock count: one store of the magic, the last of a format. */
export function writeMagic(memory: Memory): void {
  memory.commit64(superblockHead.fields.magicLow.offset, MAGIC_LOW, MAGIC_HIGH);
}

/**
 * Says that a memory is being formatted, by its first store: a killed format leaves no old magic behind, and nothing
 * that anybody could take for data.
 */
export function writeFormattingMark(memory: Memory): void {
  memory.commit64(superblockHead.fields.magicLow.offset, MARK_LOW, MARK_HIGH);
}

/** True for a memory whose format was begun and is not done: whatever it holds was given up then. */
export function hasFormattingMark(memory: Memory): boolean {
  const { magicLow, magicHigh } = superblockHead.decode(memory.read(0, superblockHead.sizeBytes));
  return magicLow === MARK_LOW && magicHigh === MARK_HIGH;
}

/** True for numbers with an odd count of set bits. */
export function hasOddParity(type: number): boolean {
  let odd = false;
  for (let rest = type >>> 0; rest !== 0; rest &= rest - 1) odd = !odd;
  return odd;
}
