import type { FoundInstance } from "./analysis.ts";
import { describeClaim, kind, ownerOf } from "./claim.ts";
import type { FrameEntry } from "./frame-table.ts";
import { firstOwner, maxOwner, recordState, regionOwner } from "./layout.ts";
import { newInstance } from "./read-directory.ts";
import { blankRecord, limitOf, maxSizeOf } from "./records.ts";
import { hasPlace, makePlace } from "./repair-directory.ts";
import type { Patient } from "./repair-patient.ts";
import { copySealed } from "./seals.ts";

/** The subsystem of instances that a repair makes. */
export const rescuedSubsystem = "rescued";
const SHELF_NAME = "lost+found";

/**
 * The instance that takes pages of which nobody knows the place: it can be read, and deleted. One repair fills it on
 * from where the one before stopped.
 */
export class Shelf {
  readonly #patient: Patient;
  #instance: FoundInstance | undefined;

  constructor(patient: Patient) {
    this.#patient = patient;
  }

  /** Takes a page out of its place, and what follows it in its run out of the run. */
  put(page: number, why: string): void {
    const patient = this.#patient;
    const before = patient.entry(page);
    const owner = ownerOf(before.claim);
    dissolveAfter(patient, page, before);
    const was = patient.isSound(page) ? `, was ${describeClaim(before.index, before.claim)}` : "";
    const of = patient.analysis.instances.has(owner) && was !== "" ? { page, owner } : { page };
    // A page of zeroes tells nothing: what has no page reads as zeroes, too.
    if (patient.isZero(page)) {
      patient.claim(page, 0, kind.free, 0);
      patient.did("frame", `freed, a page of zeroes: ${why}${was}`, { ...of, isLoss: true });
      return;
    }
    const shelf = this.#withRoom();
    if (shelf === undefined) {
      patient.claim(page, regionOwner, kind.bad, page);
      patient.did("frame", `kept, but out of use: ${why}${was}`, { ...of, isLoss: true });
      return;
    }
    const index = shelf.limit;
    this.#grow(shelf);
    const how = unseal(patient, page) ? ", its checksum is not that of its content" : "";
    patient.claim(page, shelf.owner, kind.data, index);
    const to = `${rescuedSubsystem} "${shelf.record.name}" at index ${index}`;
    patient.did("frame", `moved to ${to}: ${why}${was}${how}`, { ...of, isLoss: true });
  }

  #grow(shelf: FoundInstance): void {
    const sizeBytes = (shelf.limit + 1) * this.#patient.shape.pageBytes;
    shelf.record = { ...shelf.record, sizeBytes };
    shelf.limit++;
    this.#patient.writeRecord(shelf.record);
  }

  #withRoom(): FoundInstance | undefined {
    const { shape } = this.#patient;
    const isFull = ({ record }: FoundInstance): boolean =>
      record.sizeBytes + shape.pageBytes > maxSizeOf(shape.pageBytes) ||
      limitOf(record.sizeBytes, shape.pageBytes) === 2 ** 32;
    this.#instance ??= this.#present();
    if (this.#instance === undefined || isFull(this.#instance)) this.#instance = this.#make();
    return this.#instance;
  }

  #present(): FoundInstance | undefined {
    const instances = Array.from(this.#patient.analysis.instances.values());
    const isAlone = ({ owner }: FoundInstance): boolean =>
      instances.every(({ record }) => record.parent !== owner && record.source !== owner);
    return instances.find(
      (one) =>
        one.record.subsystem === rescuedSubsystem &&
        /^lost\+found(?: \d+)?$/.test(one.record.name) &&
        one.record.state === recordState.live &&
        one.record.flags === 0 &&
        one.record.parent === 0 &&
        isAlone(one),
    );
  }

  #make(): FoundInstance | undefined {
    const { shape, analysis } = this.#patient;
    const owner = freeOwner(this.#patient);
    if (owner === undefined) return undefined;
    const record = {
      ...blankRecord(owner),
      state: recordState.live,
      subsystem: rescuedSubsystem,
      name: freeName(this.#patient, SHELF_NAME),
      createdMs: Date.now(),
      changedMs: Date.now(),
    };
    const made = newInstance(record, shape.pageBytes, analysis.arena);
    analysis.instances.set(owner, made);
    return made;
  }
}

// Whether a page had a seal is what its claim would have told: one that was free may hold anything.
function unseal({ memory, shape }: Patient, page: number): boolean {
  if (!shape.hasSeals || copySealed(memory, shape, page, new Uint8Array(shape.pageBytes)) !== "damaged") return false;
  memory.commit32(shape.sealOffset(page), 0);
  return true;
}

/** A name that no instance of that subsystem has. */
export function freeName({ analysis }: Patient, wanted: string): string {
  const names = new Set(
    Array.from(analysis.instances.values(), ({ record }) => (record.subsystem === rescuedSubsystem ? record.name : "")),
  );
  let name = wanted;
  for (let number = 2; names.has(name); number++) name = `${wanted} ${number}`;
  return name;
}

/** An owner without a record and without a page. */
function freeOwner(patient: Patient): number | undefined {
  const { instances, findings } = patient.analysis;
  const claimed = new Set(findings.map(({ owner }) => owner));
  for (let owner = firstOwner; owner <= maxOwner; owner++) {
    if (instances.has(owner) || claimed.has(owner)) continue;
    return hasPlace(patient, owner) || makePlace(patient, owner) ? owner : undefined;
  }
  return undefined;
}

/** Makes single pages of the tails that go on where a page ends: without it they would be tails of nothing. */
export function dissolveAfter(patient: Patient, page: number, before: FrameEntry): void {
  let tail = page + 1;
  const first = tail < patient.mark ? patient.entry(tail) : undefined;
  if (first === undefined) return;
  // Where the entry before is damaged nobody knows whether its run goes on; a tail of something it is.
  const start = patient.isSound(page) ? before : { index: first.index - 1, claim: first.claim };
  for (let last = start; patient.isTailAfter(last, tail); tail++) {
    last = patient.entry(tail);
    patient.claim(tail, ownerOf(last.claim), kind.data, last.index);
    patient.did("frame", "a single page now, no part of a run", { page: tail, owner: ownerOf(last.claim) });
  }
}
