import { slotWords } from "./layout.ts";
import type { Mutants, RecordName } from "./mutant-names.ts";
import type { Task } from "./tasks.ts";
import type { Writer } from "./writer.ts";

/** What the two slots of a dual record say. */
export interface DualRecord {
  /** Word of the slot that counts; -1 when the record was never written or cannot be read. */
  readonly winner: number;
  /** Word of a slot that must be healed from the winner; -1 when both agree. */
  readonly loser: number;
  /** Both slots hold something and neither is complete: no crash leaves that. */
  readonly damaged: boolean;
}

/** Reads both slots: a slot counts when its CRC is complete, the higher sequence is the value. */
export function readDual(words: Uint32Array, at: number, mutants: Mutants): DualRecord {
  const other = at + slotWords;
  const first = isComplete(words, at, mutants);
  const second = isComplete(words, other, mutants);
  if (first && second) {
    if (words[at] === words[other]) return { winner: at, loser: -1, damaged: false };
    const firstWins = words[at] > words[other] !== mutants.has("older-slot-wins");
    return firstWins ? { winner: at, loser: other, damaged: false } : { winner: other, loser: at, damaged: false };
  }
  if (first) return { winner: at, loser: other, damaged: false };
  if (second) return { winner: other, loser: at, damaged: false };
  const firstZero = isZero(words, at);
  const secondZero = isZero(words, other);
  if (!firstZero && !secondZero) return { winner: -1, loser: -1, damaged: true };
  // The very first write of a record was cut off: it never held anything.
  const torn = firstZero ? other : at;
  return { winner: -1, loser: firstZero && secondZero ? -1 : torn, damaged: false };
}

/** Rewrites both slots with the same bytes and sequence, the older first, persisted between. */
export function* writeDual(writer: Writer, at: number, values: readonly number[], record: RecordName): Task<void> {
  const { mutants } = writer.region;
  const slot = sealed(values);
  if (mutants.has("record-in-one-place")) {
    yield;
    writer.memory.fill(at, [...slot, ...slot]);
    writer.memory.flush(at, 2 * slotWords);
    writer.fence(`${record}.2`);
    return;
  }
  const state = readDual(writer.memory.words, at, mutants);
  const older = mutants.has("first-slot-first") || state.loser < 0 ? at : state.loser;
  const newer = older === at ? at + slotWords : at;
  // Its copy must be durable before the other slot is touched.
  if (writer.unsettled.has(at) && !mutants.has("record-not-settled")) writer.fence("settle");
  yield;
  writer.memory.fill(older, slot);
  writer.memory.flush(older, slotWords);
  if (!mutants.has("slots-together")) writer.fence(`${record}.1`);
  yield;
  writer.memory.fill(newer, slot);
  writer.memory.flush(newer, slotWords);
  if (writer.region.limbo) writer.unsettled.add(at);
  else writer.fence(`${record}.2`);
}

/** Copies the winner over the loser, or zeros when the record never held anything. */
export function healDual(writer: Writer, state: DualRecord): void {
  const { winner, loser } = state;
  const values = winner < 0 ? zeroSlot : [...writer.memory.words.subarray(winner, winner + slotWords)];
  writer.memory.fill(loser, values);
  writer.memory.flush(loser, slotWords);
}

/** The values with the CRC as last word. */
export function sealed(values: readonly number[]): number[] {
  const slot = Uint32Array.from({ length: slotWords }, (_, k) => values[k] ?? 0);
  slot[slotWords - 1] = slotCrc(slot, 0);
  return [...slot];
}

const zeroSlot: number[] = Array.from({ length: slotWords }, () => 0);

function isComplete(words: Uint32Array, at: number, mutants: Mutants): boolean {
  if (words[at] === 0) return false;
  return words[at + slotWords - 1] === slotCrc(words, at) || mutants.has("record-crc-ignored");
}

function isZero(words: Uint32Array, at: number): boolean {
  for (let k = 0; k < slotWords; k++) if (words[at + k] !== 0) return false;
  return true;
}

/** Stands for the CRC-32 of the format: any sum that a torn slot does not meet by chance. */
function slotCrc(words: Uint32Array, at: number): number {
  let sum = 0x811c9dc5;
  for (let k = 0; k < slotWords - 1; k++) {
    sum = Math.imul(sum ^ words[at + k], 0x01000193);
    sum ^= sum >>> 13;
  }
  return sum >>> 0;
}
