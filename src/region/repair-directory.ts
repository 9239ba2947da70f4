import { isSealed } from "../base/index.ts";
import { kind } from "./claim.ts";
import { firstOwner, maxOwner, recordBytes, recordLayout, regionOwner } from "./layout.ts";
import { recordSlots } from "./records.ts";
import type { Patient } from "./repair-patient.ts";
import type { Shelf } from "./repair-shelf.ts";

const SLOT_BYTES: number = recordLayout.sizeBytes;

/** True when a page can be the one of the directory at an index: no other is, and its records belong there. */
export function isDirectoryContent(patient: Patient, page: number, index: number): boolean {
  const { shape, analysis } = patient;
  if ((analysis.directoryPages[index] ?? 0) !== 0 || index > 2 * analysis.directoryPages.length + 1) return false;
  const content = patient.memory.read(shape.pageOffset(page), shape.pageBytes);
  const first = index * shape.pageBytes;
  for (let at = 0; at < content.length; at += SLOT_BYTES) {
    const owner = ownerIn(content.subarray(at, at + SLOT_BYTES));
    if (owner !== undefined && owner !== Math.floor((first + at) / recordBytes) + firstOwner) return false;
  }
  return true;
}

/** The owner that a slot names; undefined where there is no record. */
function ownerIn(slot: Uint8Array): number | undefined {
  const { sequence, owner } = recordLayout.decode(slot);
  return isSealed(slot, recordLayout.fields.crc) && sequence > 0 ? owner : undefined;
}

/** Finds pages of the directory whose entries are damaged by the records that they hold. */
export function findDirectoryPages(patient: Patient): void {
  const { shape, analysis } = patient;
  for (const page of patient.pagesOf("check")) {
    const content = patient.memory.read(shape.pageOffset(page), shape.pageBytes);
    for (const index of placesOf(content, shape.pageBytes)) {
      if (!isDirectoryContent(patient, page, index)) continue;
      patient.claim(page, regionOwner, kind.directory, index);
      analysis.directoryPages[index] = page;
      patient.did("frame", `page ${index} of the directory again, as its records say`, { page });
      break;
    }
  }
}

/** Indices in the directory that a page with such records may have had. */
function placesOf(content: Uint8Array, pageBytes: number): number[] {
  for (let at = 0; at < content.length; at += SLOT_BYTES) {
    const owner = ownerIn(content.subarray(at, at + SLOT_BYTES));
    if (owner === undefined || owner < firstOwner || owner > maxOwner) continue;
    const record = (owner - firstOwner) * recordBytes;
    // On a page that holds one slot only it may be either of the two.
    const starts = pageBytes < recordBytes ? [record, record + SLOT_BYTES] : [record];
    return starts.map((start) => Math.floor(start / pageBytes));
  }
  return [];
}

/** Claims that cannot be those of a page of the directory. */
export function mendDirectoryPages(patient: Patient, shelf: Shelf): void {
  for (const page of patient.pagesOf("directory-page")) shelf.put(page, "a page of the directory that it cannot be");
}

/** True when the record of an owner has its pages. */
export function hasPlace({ shape, analysis }: Patient, owner: number): boolean {
  return recordSlots(shape, analysis.directoryPages, owner - firstOwner) !== undefined;
}

/** Makes the pages of the directory that the record of an owner needs. @returns whether there was room */
export function makePlace(patient: Patient, owner: number): boolean {
  const { shape, analysis } = patient;
  if (owner < firstOwner || owner > maxOwner) return false;
  const start = (owner - firstOwner) * recordBytes;
  for (let at = start; at < start + recordBytes; at += SLOT_BYTES) {
    const index = Math.floor(at / shape.pageBytes);
    if (index >= patient.mark) return false;
    if ((analysis.directoryPages[index] ?? 0) !== 0) continue;
    const page = takeFree(patient);
    if (page === undefined) return false;
    patient.memory.zero(shape.pageOffset(page), shape.pageBytes);
    patient.claim(page, regionOwner, kind.directory, index);
    while (analysis.directoryPages.length < index) analysis.directoryPages.push(0);
    analysis.directoryPages[index] = page;
    patient.did("frame", `a fresh page ${index} of the directory`, { page });
  }
  return true;
}

/** A page that is free; above the mark there are more. */
function takeFree({ analysis, shape, memory }: Patient): number | undefined {
  for (let page = analysis.freePages.take(0); page >= 0; page = analysis.freePages.take(page)) {
    const claim = memory.load32(shape.entryOffset(page) + 4);
    if (!shape.isMetadata(page) && claim >>> 28 === kind.free) return page;
  }
  return undefined;
}
