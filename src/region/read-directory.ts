import type { Memory } from "../memory/index.ts";
import type { FoundInstance, Plan } from "./analysis.ts";
import { describeClaim, isLegalKind, kind, kindOf, ownerOf, revisionOf, syndrome } from "./claim.ts";
import { readDual, type Slots } from "./dual-record.ts";
import type { Findings } from "./findings.ts";
import type { Shape } from "./geometry.ts";
import {
  firstOwner,
  type InstanceRecord,
  maxOwner,
  recordBytes,
  recordLayout,
  recordState,
  regionOwner,
} from "./layout.ts";

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

/** How many whole records the directory holds. */
export function recordCapacity(shape: Shape, directoryPages: readonly number[]): number {
  return Math.floor((directoryPages.length * shape.pageBytes) / recordBytes);
}

/** Two claims of one name after a killed replace: the newer revision wins. Anything else is corruption. */
export function newerOf(pageA: number, claimA: number, pageB: number, claimB: number): number {
  const step = (revisionOf(claimB) - revisionOf(claimA)) & 3;
  return step === 1 ? pageB : step === 3 ? pageA : 0;
}

/**
 * Finds the pages of the directory in the frame table.
 *
 * @returns page number by directory index; 0 where one is missing
 */
export function findDirectory(words: Uint32Array, marked: number, plan: Plan, findings: Findings): number[] {
  const pages: number[] = [];
  for (let page = 1; page < marked; page++) {
    const claim = words[2 * page + 1];
    if (kindOf(claim) !== kind.directory) continue;
    const index = words[2 * page];
    // A wrong check is reported once, by the scan of all frames.
    if (syndrome(page, index, claim) !== 0) continue;
    if (ownerOf(claim) !== regionOwner || index > (maxOwner * recordBytes) / 512) {
      findings.add({
        where: "frame",
        page,
        expected: "a directory page of owner 1",
        found: describeClaim(index, claim),
      });
      continue;
    }
    const other = pages[index] ?? 0;
    const winner = other === 0 ? page : newerOf(other, words[2 * other + 1], page, claim);
    if (winner === 0) {
      findings.add({
        where: "frame",
        page,
        expected: "one claim of a directory page",
        found: `another at page ${other}`,
      });
      continue;
    }
    if (other !== 0) plan.free.push(winner === page ? other : page);
    while (pages.length < index) pages.push(0);
    pages[index] = winner;
  }
  return pages;
}

/** What the records of the directory say. */
export interface Directory {
  readonly instances: Map<number, FoundInstance>;
  readonly sequence: number;
}

/** Reads every record once; decides which of two records of one name counts. */
export function readRecords(
  memory: Memory,
  shape: Shape,
  directoryPages: readonly number[],
  plan: Plan,
  findings: Findings,
): Directory {
  const instances = new Map<number, FoundInstance>();
  const live = new Map<string, FoundInstance>();
  let sequence = 0;
  const found: FoundInstance[] = [];
  for (let record = 0; record < recordCapacity(shape, directoryPages); record++) {
    const read = readRecord(memory, shape, directoryPages, record, plan, findings);
    if (read === undefined) continue;
    sequence = Math.max(sequence, read.sequence);
    if (read.state === recordState.free) continue;
    const ends = read.state !== recordState.live;
    found.push({ owner: read.owner, record: read, ends, tables: [], pages: 0 });
  }
  for (const instance of found) {
    let counted = instance;
    if (!instance.ends) {
      const key = nameKey(instance.record.subsystem, instance.record.name);
      const other = live.get(key);
      if (other !== undefined && other.record.sequence > instance.record.sequence)
        counted = { ...instance, ends: true };
      else {
        if (other !== undefined) instances.set(other.owner, { ...other, ends: true });
        live.set(key, instance);
      }
    }
    instances.set(counted.owner, counted);
  }
  for (const instance of instances.values()) if (instance.ends) plan.endRecords.push(instance.owner);
  return { instances, sequence };
}

/** The key of a name in maps: a subsystem never holds a NUL. */
export function nameKey(subsystem: string, name: string): string {
  return `${subsystem}\0${name}`;
}

function readRecord(
  memory: Memory,
  shape: Shape,
  directoryPages: readonly number[],
  record: number,
  plan: Plan,
  findings: Findings,
): InstanceRecord | undefined {
  const owner = record + firstOwner;
  const slots = recordSlots(shape, directoryPages, record);
  if (slots === undefined) return undefined;
  const a = memory.bytes(slots.a, recordLayout.sizeBytes);
  const b = memory.bytes(slots.b, recordLayout.sizeBytes);
  const dual = readDual(recordLayout, slots, a, b);
  if (dual.kind === "corrupt") {
    findings.add({ where: "directory", owner, expected: "a slot with a right CRC", found: dual.why });
    return undefined;
  }
  if (dual.kind === "blank") {
    if (dual.torn !== undefined) plan.heal.push({ winner: undefined, loser: dual.torn });
    return undefined;
  }
  if (dual.loser !== undefined) plan.heal.push({ winner: dual.winner, loser: dual.loser });
  const decoded = recordLayout.decode(dual.bytes);
  const problem = problemOf(decoded, owner);
  if (problem === undefined) return decoded;
  findings.add({ where: "directory", owner, expected: "a record that makes sense", found: problem });
  return undefined;
}

// A right CRC says that the bytes are as they were written, not that whoever wrote them meant well.
function problemOf(record: InstanceRecord, owner: number): string | undefined {
  if (record.owner !== owner || owner > maxOwner) return `owner ${record.owner}`;
  if (record.state > recordState.deleting) return `state ${record.state}`;
  if (record.parent !== 0) return `a parent (${record.parent}), which this format version does not have`;
  if (Number.isNaN(record.sizeBytes)) return "a size above 2^53";
  if (Number.isNaN(record.sequence)) return "a sequence above 2^53";
  if (record.state !== recordState.free && (record.name === "" || record.subsystem === "")) return "no name";
  if (record.subsystem.includes("\0")) return "a NUL in the subsystem";
  return undefined;
}

/** True when the claim may be looked at further: legal kind and right check. */
export function isSound(page: number, index: number, claim: number): boolean {
  return isLegalKind(claim) && syndrome(page, index, claim) === 0;
}
