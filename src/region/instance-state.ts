import { PerdureError } from "../base/index.ts";
import type { FoundInstance } from "./analysis.ts";
import type { RegionCore } from "./core.ts";
import { type InstanceRecord, recordFlags, recordState } from "./layout.ts";
import type { Gate } from "./locks.ts";
import type { PageTable } from "./page-table.ts";

/** What to do about a snapshot that is to be changed, or to be kept as another one. */
export const snapshotRemedy: string =
  "a snapshot never changes: make a clone of it (`perdure disk clone`), and go on with that";

/** An instance while its region is open, as one thread knows it. */
export class InstanceState {
  /** What its handles follow: the number that its owner had before any snapshot was taken. */
  readonly line: number;
  /** Of the line, so that a thread that waits at it goes on with the same instance. */
  readonly gate: Gate;
  /** Changes when a snapshot is taken: what was this instance is then below it. */
  owner: number;
  /** Its record as this thread last read or wrote it. */
  known: InstanceRecord;
  /** First index that does not belong to it. */
  limit: number;
  /** The layer below. */
  parent: InstanceState | undefined;
  /** Set when it was deleted: handles of it must not touch pages that may belong to others by now. */
  deleted: boolean;
  /** Set when its record is free: who looked through it looks again. */
  isEnded = false;
  /**
   * The pending instance that names this one as its source. Until it is committed or dropped its pages may come back
   * here, so nothing else may change here meanwhile.
   */
  save: InstanceState | undefined;
  /** A key by which other threads find it until a layer takes that name over; see `readChanges`. */
  keptKey: string | undefined;
  #tables: (PageTable | undefined)[] = [];
  readonly #core: RegionCore;

  constructor({ owner, record, limit }: FoundInstance, core: RegionCore, line: number = owner) {
    this.line = line;
    this.gate = core.owners.gate(this.line, () => core.catchUp());
    this.owner = owner;
    this.known = record;
    this.limit = limit;
    this.deleted = isDeleted(record);
    this.#core = core;
  }

  /** Its record as it is now, whichever thread has changed it. */
  get record(): InstanceRecord {
    this.#core.catchUp();
    return this.known;
  }

  /** Pages that are claimed for it now: tails of runs included, masks and what layers below hold left out. */
  get pages(): number {
    return this.#core.owners.pages(this.owner);
  }

  /** Pages of its masks: they take memory, but neither use up what it is guaranteed nor count against its quota. */
  get maskPages(): number {
    return this.#core.owners.maskPages(this.owner);
  }

  /** How many of them are tails of aligned runs. */
  get tails(): number {
    return this.#core.owners.tails(this.owner);
  }

  /** Takes over the place of another state in all but its handles: what they have of each other is exchanged. */
  exchange(other: InstanceState): void {
    [this.owner, other.owner] = [other.owner, this.owner];
    [this.known, other.known] = [other.known, this.known];
    [this.limit, other.limit] = [other.limit, this.limit];
    [this.parent, other.parent] = [other.parent, this.parent];
    [this.#tables, other.#tables] = [other.#tables, this.#tables];
  }

  /** Becomes what another thread has made of its line. */
  become({ owner, record, limit }: FoundInstance): void {
    if (owner !== this.owner) this.#tables = [];
    this.owner = owner;
    this.known = record;
    this.limit = limit;
    this.deleted = isDeleted(record);
  }

  /** The page table of a kind. */
  table(kindNumber: number): PageTable {
    return (this.#tables[kindNumber] ??= this.#core.arena.table(this.owner, kindNumber));
  }

  /** @throws ENOENT */
  refuseDeleted(): void {
    if (this.deleted) throw new PerdureError("ENOENT", `the instance "${this.record.name}" was deleted`);
  }

  /** @throws ENOENT when it was deleted; EINVAL for what is no index of it */
  refuseOutside(index: number): void {
    this.refuseDeleted();
    if (Number.isInteger(index) && index >= 0 && index < this.limit) return;
    throw new PerdureError("EINVAL", `index ${index} is not below ${this.limit}, the size of "${this.record.name}"`);
  }

  /** @throws EBUSY while pages of it are being saved */
  refuseSaved(): void {
    // Another thread may have begun a save since this one entered the gate.
    this.#core.catchUp();
    if (this.save === undefined) return;
    throw new PerdureError(
      "EBUSY",
      `"${this.record.name}" is being saved: publish or delete the pending instance first`,
    );
  }

  /** @throws READ_ONLY for a snapshot */
  refuseReadOnly(): void {
    if (!this.isReadOnly) return;
    throw new PerdureError("READ_ONLY", `"${this.record.name}" is a snapshot`, { remedy: snapshotRemedy });
  }

  get isPending(): boolean {
    return this.record.state === recordState.pending;
  }

  get isReadOnly(): boolean {
    return (this.record.flags & recordFlags.readOnly) !== 0;
  }
}

function isDeleted({ state }: InstanceRecord): boolean {
  return state === recordState.deleting || state === recordState.deleted;
}
