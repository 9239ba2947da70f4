import { crc32 } from "../base/index.ts";
import type { Memory } from "../memory/index.ts";
import type { FoundInstance, Plan } from "./analysis.ts";
import { describeClaim, isLegalKind, kind, ownerOf, revisionOf, syndrome } from "./claim.ts";
import { type DualState, readDual } from "./dual-record.ts";
import type { Findings } from "./findings.ts";
import type { FrameBlock } from "./frame-table.ts";
import type { Shape } from "./geometry.ts";
import {
  firstOwner,
  type InstanceRecord,
  maxNameBytes,
  maxOwner,
  maxSequence,
  maxSubsystemBytes,
  maxTimeMs,
  recordBytes,
  recordLayout,
  recordState,
  regionOwner,
} from "./layout.ts";
import type { ChunkArena } from "./page-table.ts";
import { limitOf, maxSizeOf, recordCapacity, recordSlots } from "./records.ts";

/** Two claims of one name after a killed replace: the newer revision wins. Anything else is corruption. */
export function newerOf(pageA: number, claimA: number, pageB: number, claimB: number): number {
  const step = (revisionOf(claimB) - revisionOf(claimA)) & 3;
  return step === 1 ? pageB : step === 3 ? pageA : 0;
}

/** Finds the pages of the directory in the frame table, block by block. */
export class DirectoryFinder {
  /** Page number by directory index; 0 where one is missing. */
  readonly pages: number[] = [];
  readonly #marked: number;
  readonly #mostPages: number;
  readonly #findings: Findings;

  constructor(shape: Shape, marked: number, findings: Findings) {
    this.#marked = marked;
    this.#mostPages = Math.ceil(((maxOwner - firstOwner + 1) * recordBytes) / shape.pageBytes);
    this.#findings = findings;
  }

  read({ words, firstPage, pages }: FrameBlock): void {
    const end = Math.min(pages, this.#marked - firstPage);
    for (let k = 0; k < end; k++) {
      const claim = words[2 * k + 1];
      // A wrong check is reported once, by the scan of all frames.
      if (claim >>> 28 !== kind.directory || syndrome(firstPage + k, words[2 * k], claim) !== 0) continue;
      this.#file(firstPage + k, words[2 * k], claim);
    }
  }

  #file(page: number, index: number, claim: number): void {
    // A directory has no gaps but those of a killed growth, so its indices are bounded by the pages there are; and
    // more than there are owners is none of its pages.
    const isBeyond = index >= this.#marked || index >= this.#mostPages;
    if (ownerOf(claim) !== regionOwner || isBeyond) {
      this.#report(page, "a directory page of owner 1", describeClaim(index, claim));
      return;
    }
    const other = this.pages[index] ?? 0;
    if (other !== 0) {
      // Pages of the directory are never replaced, so this is none of the two claims that a killed replace leaves.
      this.#report(page, "one claim of a directory page", `another at page ${other}`);
      return;
    }
    while (this.pages.length < index) this.pages.push(0);
    this.pages[index] = page;
  }

  #report(page: number, expected: string, found: string): void {
    this.#findings.add({ where: "frame", problem: "directory-page", page, expected, found });
  }
}

/** What the records of the directory say. */
export interface Directory {
  readonly instances: Map<number, FoundInstance>;
  readonly sequence: number;
}

/** Reads every record once. What becomes of the instances that they tell of is settled after. */
export function readRecords(
  memory: Memory,
  shape: Shape,
  directoryPages: readonly number[],
  plan: Plan,
  findings: Findings,
  arena: ChunkArena,
): Directory {
  const instances = new Map<number, FoundInstance>();
  let sequence = 0;
  for (const { owner, dual } of eachRecord(memory, shape, directoryPages)) {
    const read = readRecord(owner, dual, shape.pageBytes, plan, findings);
    if (read === undefined) continue;
    sequence = Math.max(sequence, read.sequence);
    if (read.state === recordState.free) continue;
    instances.set(read.owner, newInstance(read, shape.pageBytes, arena));
  }
  return { instances, sequence };
}

/** An instance without pages. */
export function newInstance(record: InstanceRecord, pageBytes: number, arena: ChunkArena): FoundInstance {
  return {
    owner: record.owner,
    record,
    ends: false,
    limit: limitOf(record.sizeBytes, pageBytes),
    data: arena.table(record.owner, kind.data),
    masks: arena.table(record.owner, kind.table),
    pages: 0,
    maskPages: 0,
    tails: 0,
  };
}

/**
 * The CRC-32 of every record that counts, in order, without their own CRCs. After a clean close it tells an older self
 * of a page of the directory, or a page of zeroes, from the truth; a flipped bit that is healed leaves it as it is.
 */
export function recordsChecksum(memory: Memory, shape: Shape, directoryPages: readonly number[]): number {
  let sum = 0;
  for (const { dual } of eachRecord(memory, shape, directoryPages)) {
    // Without its own CRC: the sum of anything and its CRC is the same constant.
    if (dual.kind === "valid") sum = crc32(dual.bytes.subarray(0, recordLayout.fields.crc.offset), sum);
  }
  return sum;
}

function* eachRecord(
  memory: Memory,
  shape: Shape,
  directoryPages: readonly number[],
): Generator<{ owner: number; dual: DualState }> {
  for (let record = 0; record < recordCapacity(shape, directoryPages); record++) {
    const slots = recordSlots(shape, directoryPages, record);
    if (slots === undefined) continue;
    // Copies: beside a writer the bytes could change between the look at the CRC and the decoding.
    const a = memory.read(slots.a, recordLayout.sizeBytes);
    const b = memory.read(slots.b, recordLayout.sizeBytes);
    yield { owner: record + firstOwner, dual: readDual(recordLayout, slots, a, b) };
  }
}

function readRecord(
  owner: number,
  dual: DualState,
  pageBytes: number,
  plan: Plan,
  findings: Findings,
): InstanceRecord | undefined {
  if (dual.kind === "corrupt") {
    findings.add({
      where: "directory",
      problem: "record",
      owner,
      expected: "a slot with a right CRC",
      found: dual.why,
    });
    return undefined;
  }
  if (dual.kind === "blank") {
    if (dual.torn !== undefined) plan.heal.push({ winner: undefined, loser: dual.torn });
    return undefined;
  }
  if (dual.loser !== undefined) plan.heal.push({ winner: dual.winner, loser: dual.loser });
  const decoded = recordLayout.decode(dual.bytes);
  const problem = problemOf(decoded, owner, pageBytes);
  if (problem === undefined) return decoded;
  findings.add({ where: "directory", problem: "record", owner, expected: "a record that makes sense", found: problem });
  return undefined;
}

/**
 * Why a record cannot be meant as it stands; undefined when it can. A right CRC says that the bytes are as they were
 * written, not that whoever wrote them meant well.
 */
export function problemOf(record: InstanceRecord, owner: number, pageBytes: number): string | undefined {
  if (record.owner !== owner || owner > maxOwner) return `owner ${record.owner}`;
  if (record.state > recordState.deleted) return `state ${record.state}`;
  if (record.parent === owner) return "itself as its parent";
  if (!(record.sizeBytes <= maxSizeOf(pageBytes))) return "a size that no index reaches";
  if (!(record.sequence < maxSequence)) return `a sequence of ${record.sequence}`;
  if (!(Math.max(record.createdMs, record.changedMs, record.deletedMs) <= maxTimeMs))
    return "a time that no clock shows";
  if (!(record.reach <= limitOf(record.sizeBytes, pageBytes))) return "a reach beyond its size";
  if (Number.isNaN(record.quotaMinPages + record.quotaMaxPages)) return "a quota above 2^53";
  const fits =
    Buffer.byteLength(record.name) <= maxNameBytes && Buffer.byteLength(record.subsystem) <= maxSubsystemBytes;
  // What is no UTF-8 decodes to this character, so two names could become one.
  if (!fits || `${record.name}${record.subsystem}`.includes("\ufffd")) return "a name that is no UTF-8";
  if (record.state !== recordState.free && (record.name === "" || record.subsystem === "")) return "no name";
  if (record.subsystem.includes("\0")) return "a NUL in the subsystem";
  return undefined;
}

/** True when the claim may be looked at further: legal kind and right check. */
export function isSound(page: number, index: number, claim: number): boolean {
  return isLegalKind(claim) && syndrome(page, index, claim) === 0;
}
