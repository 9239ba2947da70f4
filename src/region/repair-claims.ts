import { kind, kindOf, ownerOf } from "./claim.ts";
import { regionOwner } from "./layout.ts";
import type { Patient } from "./repair-patient.ts";
import { dissolveAfter, type Shelf } from "./repair-shelf.ts";

/** Claims that are sound and say what nobody can say. */
export function mendKinds(patient: Patient, shelf: Shelf): void {
  for (const page of patient.pagesOf("kind")) shelf.put(page, "a kind that its owner does not have");
}

/** Of claims of one name the one that was filed first stays: nothing tells which of them is older. */
export function mendNames(patient: Patient, shelf: Shelf): void {
  for (const page of patient.pagesOf("name")) shelf.put(page, "a second page of one name");
}

/** A run that is none stays as single pages. */
export function mendRuns(patient: Patient): void {
  for (const page of patient.pagesOf("run")) {
    let head = page;
    while (
      head > 0 &&
      kindOf(patient.entry(head).claim) === kind.run &&
      patient.isTailAfter(patient.entry(head - 1), head)
    )
      head--;
    const entry = patient.entry(head);
    dissolveAfter(patient, head, entry);
    if (kindOf(entry.claim) === kind.run) patient.claim(head, ownerOf(entry.claim), kind.data, entry.index);
  }
}

/**
 * Above the mark nobody claims a page. Where a whole chunk there is sound it was once below, and the mark is an older
 * one: it is raised. In a chunk that was never written a claim is nothing but flipped bits, and is erased.
 */
export function mendMark(patient: Patient): void {
  const { shape, mark } = patient;
  const claimed = Array.from(patient.pagesOf("mark"));
  const chunkOf = (page: number): number => mark + Math.floor((page - mark) / shape.chunkPages) * shape.chunkPages;
  const written = new Map(claimed.map((page) => [chunkOf(page), false]));
  for (const start of written.keys()) written.set(start, isWritten(patient, start, endOf(patient, start)));
  for (const page of claimed) {
    if (written.get(chunkOf(page)) === true) continue;
    patient.memory.commit64(shape.entryOffset(page), 0, 0);
    patient.did("frame", "erased: above the high-water mark, where no entry was written yet", { page });
  }
  const raised = Math.max(mark, ...Array.from(written).flatMap(([start, is]) => (is ? endOf(patient, start) : [])));
  if (raised > mark) raiseTo(patient, raised);
}

function endOf({ shape }: Patient, start: number): number {
  return Math.min(start + shape.chunkPages, shape.pages);
}

function isWritten(patient: Patient, start: number, end: number): boolean {
  for (let page = start; page < end; page++) if (!patient.isSound(page)) return false;
  return true;
}

function raiseTo(patient: Patient, raised: number): void {
  const { shape, mark } = patient;
  for (let page = mark; page < raised; page++) {
    if (shape.isMetadata(page)) patient.claim(page, regionOwner, kind.meta, page);
    else if (!patient.isSound(page)) patient.claim(page, 0, kind.free, 0);
  }
  patient.writeState({ marks: [raised, ...patient.analysis.state.marks.slice(1)] });
  patient.did("state", `the high-water mark is ${raised}, not ${mark}: pages above it are claimed`, { isLoss: true });
}
