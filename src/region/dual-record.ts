import { type Field, isSealed, type Layout } from "../base/index.ts";
import { type Memory, persist } from "../memory/index.ts";

/** Byte offsets of the two slots of a dual record. */
export interface Slots {
  readonly a: number;
  readonly b: number;
}

type RecordFields = { sequence: Field<number>; crc: Field<number> };

/** What the two slots of a dual record hold. */
export type DualState =
  /** Never written, or its first write was torn. */
  | { readonly kind: "blank"; readonly torn: number | undefined }
  /** `loser` is set when the other slot differs and must be healed from the winner. */
  | { readonly kind: "valid"; readonly bytes: Uint8Array; readonly winner: number; readonly loser: number | undefined }
  | { readonly kind: "corrupt"; readonly why: string };

/** Decides between the slots: one counts when its CRC is complete, the higher sequence is the value. */
export function readDual<F extends RecordFields & Record<string, Field<unknown>>>(
  layout: Layout<F>,
  slots: Slots,
  a: Uint8Array,
  b: Uint8Array,
): DualState {
  const sequenceA = validSequence(layout, a);
  const sequenceB = validSequence(layout, b);
  if (sequenceA === undefined && sequenceB === undefined) return neitherValid(slots, a, b);
  const same = sequenceA === sequenceB && Buffer.compare(a, b) === 0;
  if (sequenceA === sequenceB && !same)
    return { kind: "corrupt", why: "both slots have one sequence, but they differ" };
  const aWins = sequenceB === undefined || (sequenceA !== undefined && sequenceA >= sequenceB);
  return {
    kind: "valid",
    bytes: aWins ? a : b,
    winner: aWins ? slots.a : slots.b,
    loser: same ? undefined : aWins ? slots.b : slots.a,
  };
}

// A torn slot beside one that was never written is the first write of a record, killed half-way.
function neitherValid(slots: Slots, a: Uint8Array, b: Uint8Array): DualState {
  const blankA = isZero(a);
  const blankB = isZero(b);
  if (!blankA && !blankB) return { kind: "corrupt", why: "no slot has a right CRC" };
  return { kind: "blank", torn: !blankA ? slots.a : !blankB ? slots.b : undefined };
}

function validSequence<F extends RecordFields & Record<string, Field<unknown>>>(
  layout: Layout<F>,
  slot: Uint8Array,
): number | undefined {
  if (!isSealed(slot, layout.fields.crc)) return undefined;
  const sequence = layout.fields.sequence.read(new DataView(slot.buffer, slot.byteOffset));
  // Sequences start at 1, so that zeroes never count.
  return sequence > 0 ? sequence : undefined;
}

function isZero(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte === 0);
}

/**
 * Rule 3: there are never two live words that must agree; what is more than one word is a dual record.
 *
 * Rewrites both slots with the same bytes, so that at rest they agree and a flipped bit cannot roll the value back.
 * Rule 2: the first is persisted before the second is touched. `older` must be the one that does not count.
 */
export function writeDual(memory: Memory, older: number, newer: number, encoded: Uint8Array): void {
  memory.fill(older, encoded);
  persist(memory, older, encoded.length);
  memory.fill(newer, encoded);
  persist(memory, newer, encoded.length);
}
