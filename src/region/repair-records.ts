import { isSealed } from "../base/index.ts";
import { kind, kindOf, ownerOf } from "./claim.ts";
import { readDual } from "./dual-record.ts";
import { FrameTable } from "./frame-table.ts";
import {
  firstOwner,
  type InstanceRecord,
  maxNameBytes,
  maxSubsystemBytes,
  maxTimeMs,
  recordFlags,
  recordLayout,
  recordState,
} from "./layout.ts";
import { isSound, problemOf } from "./read-directory.ts";
import { blankRecord, limitOf, maxSizeOf, recordSlots } from "./records.ts";
import { hasPlace, makePlace } from "./repair-directory.ts";
import type { Patient } from "./repair-patient.ts";
import { freeName, rescuedSubsystem, type Shelf } from "./repair-shelf.ts";
import { mendTwins } from "./repair-twins.ts";

/** Records that cannot be read: from what is left of them, or made anew for the pages that name their owner. */
export function mendRecords(patient: Patient): void {
  const claimed = claimedSizes(patient);
  for (const { owner } of patient.found("record")) {
    if (owner === undefined) continue;
    const [a, b] = slotsOf(patient, owner);
    const mended = readable(patient, owner, a, b);
    if (mended !== undefined) {
      patient.writeRecord(mended.record);
      patient.did("directory", mended.text, { owner, isLoss: mended.isLoss });
    } else if (claimed.has(owner)) rescue(patient, owner, claimed.get(owner) ?? 0);
    else {
      patient.writeRecord(blankRecord(owner));
      patient.did("directory", "its record says nothing, and no page is its own: free", { owner, isLoss: true });
    }
  }
}

/** Pages whose owner has no record: it is made anew where it has a place, else they go to the shelf. */
export function mendOwners(patient: Patient, shelf: Shelf): void {
  const claimed = claimedSizes(patient);
  const pages = new Map<number, number[]>();
  for (const { owner = 0, page = 0 } of patient.found("owner")) {
    const ownPages = pages.get(owner);
    if (ownPages === undefined) pages.set(owner, [page]);
    else ownPages.push(page);
  }
  for (const [owner, ownPages] of pages) {
    const isReadable = hasPlace(patient, owner);
    if (!isReadable && !makePlace(patient, owner))
      for (const page of ownPages) shelf.put(page, "an owner that cannot exist");
    // What stands in the one half of a record that was found may be enough.
    else if (!isReadable && slotsOf(patient, owner).some((slot) => isWritten(slot))) continue;
    else rescue(patient, owner, claimed.get(owner) ?? 0);
  }
}

/** Where pages hold one slot each, the other one of a record may be on a page that is lost. */
export function completeDirectory(patient: Patient): void {
  const { shape, analysis, memory } = patient;
  if (shape.pageBytes >= 2 * recordLayout.sizeBytes) return;
  for (const [index, page] of Array.from(analysis.directoryPages.entries())) {
    const owner = Math.floor(index / 2) + firstOwner;
    if (!page || hasPlace(patient, owner)) continue;
    if (isWritten(memory.read(shape.pageOffset(page), recordLayout.sizeBytes))) makePlace(patient, owner);
  }
}

/** A parent that does not exist, or chains without an end, are cut. */
export function mendParents(patient: Patient): void {
  for (const { owner } of patient.found("parent")) {
    const record = owner === undefined ? undefined : recordOf(patient, owner);
    if (record === undefined) continue;
    patient.writeRecord({ ...record, parent: 0, reach: 0 });
    const text = `stands on no layer now: what it shared with owner ${record.parent} is not shown any longer`;
    patient.did("directory", text, { owner: record.owner, isLoss: true });
  }
}

/** What layers stand on never changes. */
export function mendWritableParents(patient: Patient): void {
  const layers = patient.found("writable-parent").flatMap(({ owner }) => owner ?? []);
  const parents = new Set(layers.map((owner) => recordOf(patient, owner)?.parent ?? 0));
  for (const owner of parents) {
    const record = recordOf(patient, owner);
    const parent = patient.analysis.instances.get(owner);
    if (record === undefined || parent === undefined) continue;
    if (parent.ends) {
      patient.writeRecord({ ...record, state: recordState.deleting, source: 0 });
      patient.did("directory", "hidden, and kept for the layers that stand on it", { owner, isLoss: true });
    } else {
      patient.writeRecord({ ...record, flags: record.flags | recordFlags.readOnly });
      patient.did("directory", "a snapshot now, since layers stand on it", { owner, isLoss: true });
    }
  }
}

/** Guarantees of pages that there are not. */
export function mendQuotas(patient: Patient): void {
  for (const { owner = 0 } of patient.found("quota")) {
    const record = recordOf(patient, owner);
    if (record === undefined) continue;
    patient.writeRecord({ ...record, quotaMinPages: 0 });
    const text = `is guaranteed no pages now: there is no room for ${record.quotaMinPages}`;
    patient.did("directory", text, { owner, isLoss: true });
  }
}

// ---- what is left of a record ------------------------------------------------------------------------------

interface Mended {
  readonly record: InstanceRecord;
  readonly text: string;
  readonly isLoss: boolean;
}

function slotsOf({ memory, shape, analysis }: Patient, owner: number): Uint8Array[] {
  const slots = recordSlots(shape, analysis.directoryPages, owner - firstOwner);
  return slots === undefined ? [] : [slots.a, slots.b].map((slot) => memory.read(slot, recordLayout.sizeBytes));
}

function isWritten(slot: Uint8Array): boolean {
  return isSealed(slot, recordLayout.fields.crc) && recordLayout.decode(slot).sequence > 0;
}

function readable({ shape }: Patient, owner: number, a: Uint8Array, b: Uint8Array): Mended | undefined {
  const makesSense = (slot: Uint8Array): boolean =>
    isWritten(slot) && problemOf(recordLayout.decode(slot), owner, shape.pageBytes) === undefined;
  const written = [a, b].filter(isWritten).map((slot) => recordLayout.decode(slot));
  const [good] = [a, b].filter(makesSense).map((slot) => recordLayout.decode(slot));
  if (good !== undefined) return { record: good, text: "the slot that makes sense counts", isLoss: true };
  const mixed = mendTwins(a, b, makesSense);
  if (mixed !== undefined) {
    return { record: recordLayout.decode(mixed), text: "put together from its two slots", isLoss: false };
  }
  const [forged] = written.filter((record) => record.owner === owner);
  const record = forged === undefined ? undefined : tamed(forged, shape.pageBytes);
  if (record === undefined || problemOf(record, owner, shape.pageBytes) !== undefined) return undefined;
  return { record, text: "what makes no sense in its record was replaced", isLoss: true };
}

/** A record with plain values in place of those that no record has. */
function tamed(record: InstanceRecord, pageBytes: number): InstanceRecord {
  const { owner, subsystem, name } = record;
  const time = (ms: number): number => (ms <= maxTimeMs ? ms : 0);
  const count = (value: number): number => (Number.isNaN(value) ? 0 : value);
  const isText = (text: string, bytes: number): boolean =>
    text !== "" && !text.includes("\ufffd") && Buffer.byteLength(text) <= bytes;
  const isSubsystem = isText(subsystem, maxSubsystemBytes) && !subsystem.includes("\0");
  const sizeBytes = record.sizeBytes <= maxSizeOf(pageBytes) ? record.sizeBytes : maxSizeOf(pageBytes);
  const limit = limitOf(sizeBytes, pageBytes);
  return {
    ...record,
    sequence: 1,
    state: record.state > recordState.deleted ? recordState.live : record.state,
    parent: record.parent === owner ? 0 : record.parent,
    sizeBytes,
    reach: record.reach <= limit ? record.reach : limit,
    quotaMinPages: count(record.quotaMinPages),
    quotaMaxPages: count(record.quotaMaxPages),
    createdMs: time(record.createdMs),
    changedMs: time(record.changedMs),
    deletedMs: time(record.deletedMs),
    subsystem: isSubsystem ? subsystem : rescuedSubsystem,
    name: isText(name, maxNameBytes) ? name : `lost+found-${owner}`,
  };
}

// ---- records that are lost ---------------------------------------------------------------------------------

function rescue(patient: Patient, owner: number, sizeBytes: number): void {
  const name = freeName(patient, `lost+found-${owner}`);
  const now = Date.now();
  patient.writeRecord({
    ...blankRecord(owner),
    state: recordState.live,
    subsystem: rescuedSubsystem,
    name,
    sizeBytes,
    createdMs: now,
    changedMs: now,
  });
  const text = `its record is lost: its pages are ${rescuedSubsystem} "${name}", each at its index`;
  patient.did("directory", text, { owner, isLoss: true });
}

/** By owner, how large it must be for all pages that name it. */
function claimedSizes({ memory, shape, mark }: Patient): Map<number, number> {
  const sizes = new Map<number, number>();
  for (const { firstPage, pages, words } of new FrameTable(memory, shape).blocks()) {
    for (let k = 0; k < Math.min(pages, mark - firstPage); k++) {
      const [index, claim] = [words[2 * k], words[2 * k + 1]];
      const owner = ownerOf(claim);
      if (owner < firstOwner || !isSound(firstPage + k, index, claim)) continue;
      const isContent = kindOf(claim) === kind.data || kindOf(claim) === kind.run;
      const size = isContent ? Math.min((index + 1) * shape.pageBytes, maxSizeOf(shape.pageBytes)) : 0;
      if (size >= (sizes.get(owner) ?? 0)) sizes.set(owner, size);
    }
  }
  return sizes;
}

/** A record as it stands on media: an analysis has cut and restated it. */
function recordOf(patient: Patient, owner: number): InstanceRecord | undefined {
  const slots = recordSlots(patient.shape, patient.analysis.directoryPages, owner - firstOwner);
  if (owner < firstOwner || slots === undefined) return undefined;
  const [a, b] = slotsOf(patient, owner);
  const dual = readDual(recordLayout, slots, a, b);
  return dual.kind === "valid" ? recordLayout.decode(dual.bytes) : undefined;
}
