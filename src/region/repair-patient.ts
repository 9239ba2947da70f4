import { seal } from "../base/index.ts";
import type { Analysis } from "./analysis.ts";
import { kind, kindOf, makeClaim, ownerOf } from "./claim.ts";
import type { Finding } from "./findings.ts";
import { type FrameEntry, readEntry } from "./frame-table.ts";
import type { Shape } from "./geometry.ts";
import { type InstanceRecord, recordLayout, regionOwner, stateLayout, stateSlots } from "./layout.ts";
import type { PlannedMemory } from "./planned-memory.ts";
import { isSound } from "./read-directory.ts";
import { recordSlots } from "./records.ts";

/** One thing that a repair did, or would do. */
export interface Mend {
  readonly where: Finding["where"];
  readonly page?: number;
  readonly owner?: number;
  /** One sentence for people. */
  readonly text: string;
  /** Something is not as it was, or nobody can tell whether it is. */
  readonly isLoss: boolean;
}

/** One line for people. */
export function describeMend({ where, page, owner, text }: Mend): string {
  const of = page === undefined ? "" : ` of page ${page}`;
  return `${where}${of}${owner === undefined ? "" : ` (owner ${owner})`}: ${text}`;
}

/** A hostile image must not make the list grow without end. */
const MAX_MENDS = 1000;

/** The list of what was done; counts what is beyond its end. */
export class Mends {
  readonly list: Mend[] = [];
  count = 0;
  losses = 0;

  add(mend: Mend): void {
    this.count++;
    if (mend.isLoss) this.losses++;
    if (this.list.length < MAX_MENDS) this.list.push(mend);
  }
}

/** A region while its repair is planned: an analysis of it as planned so far, and how to change the plan. */
export class Patient {
  readonly memory: PlannedMemory;
  readonly shape: Shape;
  readonly analysis: Analysis;
  readonly #mends: Mends;
  #sequence: number;

  constructor(memory: PlannedMemory, shape: Shape, analysis: Analysis, mends: Mends) {
    this.memory = memory;
    this.shape = shape;
    this.analysis = analysis;
    this.#mends = mends;
    this.#sequence = analysis.sequence;
  }

  /** Pages below have entries that count. */
  get mark(): number {
    return this.analysis.state.marks[0];
  }

  /** Pages and owners of findings of a kind, in order. */
  found(problem: Finding["problem"]): readonly Finding[] {
    return this.analysis.findings.filter((finding) => finding.problem === problem);
  }

  /** Pages that are concerned, each once. */
  pagesOf(problem: Finding["problem"]): Set<number> {
    return new Set(this.found(problem).flatMap(({ page }) => (page === undefined ? [] : [page])));
  }

  did(where: Finding["where"], text: string, of: Partial<Pick<Mend, "page" | "owner" | "isLoss">> = {}): void {
    this.#mends.add({ where, isLoss: false, ...of, text });
  }

  entry(page: number): FrameEntry {
    return readEntry(this.memory, this.shape, page);
  }

  isSound(page: number): boolean {
    const { index, claim } = this.entry(page);
    return isSound(page, index, claim);
  }

  claim(page: number, owner: number, kindNumber: number, index: number, revision = 0): void {
    this.memory.commit64(this.shape.entryOffset(page), index, makeClaim(page, index, kindNumber, revision, owner));
  }

  claimMetadata(page: number): void {
    this.claim(page, regionOwner, kind.meta, page);
    this.did("frame", "says META again", { page });
  }

  isZero(page: number): boolean {
    return this.memory.read(this.shape.pageOffset(page), this.shape.pageBytes).every((byte) => byte === 0);
  }

  /** True for the tail of a run that goes on where the page before it ends. */
  isTailAfter(before: FrameEntry, page: number): boolean {
    if (page >= this.mark || !this.isSound(page)) return false;
    const { index, claim } = this.entry(page);
    return kindOf(claim) === kind.run && ownerOf(claim) === ownerOf(before.claim) && index === before.index + 1;
  }

  // ---- records ---------------------------------------------------------------------------------------------

  /** Writes both slots of a record with the next sequence. Its place must exist. */
  writeRecord(record: InstanceRecord): void {
    const slots = recordSlots(this.shape, this.analysis.directoryPages, record.owner - 2);
    if (slots === undefined) throw new Error(`the record of owner ${record.owner} has no page`);
    const encoded = seal(recordLayout.encode({ ...record, sequence: ++this.#sequence }), recordLayout.fields.crc);
    for (const slot of [slots.a, slots.b]) this.memory.fill(slot, encoded);
  }

  /** Changes the state record. */
  writeState(change: Partial<Analysis["state"]>): void {
    const next = { ...this.analysis.state, ...change, sequence: ++this.#sequence };
    const encoded = seal(stateLayout.encode(next), stateLayout.fields.crc);
    for (const slot of [stateSlots.a, stateSlots.b]) this.memory.fill(slot, encoded);
  }
}
