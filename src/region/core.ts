import { isPerdureError, PerdureError } from "../base/index.ts";
import type { Analysis, FoundInstance } from "./analysis.ts";
import { kind } from "./claim.ts";
import type { FreePages } from "./free-pages.ts";
import { Shape } from "./geometry.ts";
import { type Geometry, type InstanceRecord, type RegionStateRecord, recordState } from "./layout.ts";
import { Gate, NameLocks } from "./locks.ts";
import { type ChunkArena, PageTable } from "./page-table.ts";
import { nameKey } from "./records.ts";
import type { ThinChunks } from "./thin-chunks.ts";

/** A page reserve that only overwriting may use, so that a full disk can still be written in place of itself. */
const RESERVE_SHARE = 64;
const MAX_RESERVE_PAGES = 256;
const MIN_RESERVE_PAGES = 2;

/** An instance while its region is open. */
export class InstanceState {
  readonly owner: number;
  readonly gate: Gate = new Gate();
  record: InstanceRecord;
  /** Pages that it has now, tails of runs included. */
  pages: number;
  /** First index that does not belong to it. */
  limit: number;
  /** Set when it was deleted: handles of it must not touch pages that may belong to others by now. */
  deleted = false;
  /**
   * The pending instance that names this one as its source. Until it is committed or dropped its pages may come back
   * here, so nothing else may change here meanwhile.
   */
  save: InstanceState | undefined;
  readonly #tables: (PageTable | undefined)[] = [];
  readonly #arena: ChunkArena;

  constructor(found: FoundInstance, arena: ChunkArena) {
    this.owner = found.owner;
    this.record = found.record;
    this.pages = found.pages;
    this.limit = found.limit;
    this.#tables[kind.data] = found.data;
    this.#arena = arena;
  }

  /** The page table of a kind. */
  table(kindNumber: number): PageTable {
    return (this.#tables[kindNumber] ??= new PageTable(this.#arena));
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
    if (this.save === undefined) return;
    throw new PerdureError(
      "EBUSY",
      `"${this.record.name}" is being saved: publish or delete the pending instance first`,
    );
  }

  get isPending(): boolean {
    return this.record.state === recordState.pending;
  }
}

/**
 * What is derived from the media and shared by all that write a region, in one isolate so far: nothing in here is ever
 * stored, and opening makes it anew.
 */
export class RegionCore {
  readonly source: string;
  readonly shape: Shape;
  readonly geometry: Geometry;
  readonly freePages: FreePages;
  readonly arena: ChunkArena;
  readonly instances: Map<number, InstanceState> = new Map();
  readonly byName: Map<string, InstanceState> = new Map();
  /** Page number of each directory page, 0 for one that is missing. */
  readonly directoryPages: number[];
  /** Records that hold an instance or held one in this generation: owner numbers are not given out twice in one. */
  readonly usedRecords: Set<number> = new Set();
  readonly names: NameLocks = new NameLocks();
  /** One word each: the lock of the directory and the lock of the superblock's record. */
  readonly directoryLock: Int32Array = new Int32Array(new SharedArrayBuffer(4));
  readonly stateLock: Int32Array = new Int32Array(new SharedArrayBuffer(4));
  /** How often each page is held by a handle. */
  readonly pins: Map<number, number> = new Map();
  readonly reservePages: number;
  /** Where the backing is allocated chunk by chunk. */
  chunks: ThinChunks | undefined;
  state: RegionStateRecord;
  closed = false;
  #sequence: number;
  #poison: unknown;

  constructor(analysis: Analysis, source: string) {
    this.source = source;
    this.geometry = analysis.geometry;
    this.shape = new Shape(analysis.geometry);
    this.freePages = analysis.freePages;
    this.arena = analysis.arena;
    this.directoryPages = analysis.directoryPages.slice();
    this.state = analysis.state;
    this.#sequence = analysis.sequence;
    const share = Math.floor(this.shape.pages / RESERVE_SHARE);
    this.reservePages = Math.max(MIN_RESERVE_PAGES, Math.min(MAX_RESERVE_PAGES, share));
    for (const found of analysis.instances.values()) if (!found.ends) this.addInstance(found);
  }

  addInstance(found: FoundInstance): InstanceState {
    const instance = new InstanceState(found, this.arena);
    this.instances.set(instance.owner, instance);
    const source = instance.isPending ? this.instances.get(found.record.source) : undefined;
    if (source !== undefined) source.save = instance;
    if (!instance.isPending) this.byName.set(nameKey(found.record.subsystem, found.record.name), instance);
    return instance;
  }

  removeInstance(instance: InstanceState): void {
    const key = nameKey(instance.record.subsystem, instance.record.name);
    this.instances.delete(instance.owner);
    this.endSave(instance);
    if (this.byName.get(key) === instance) this.byName.delete(key);
  }

  /** The source of a save is free again. */
  endSave(instance: InstanceState): void {
    for (const other of this.instances.values()) if (other.save === instance) other.save = undefined;
  }

  /** Free pages: with those above the high-water mark, those without memory, and the reserve. The last is metadata. */
  get freeCount(): number {
    const mark = this.state.marks[0];
    const holes = this.chunks === undefined ? 0 : this.chunks.holePages;
    return this.freePages.count + holes + Math.max(0, this.shape.lastPage - mark);
  }

  /** The next number of the one sequence of the region. */
  nextSequence(): number {
    return ++this.#sequence;
  }

  /** @throws CLOSED, POISONED */
  refuseUnusable(): void {
    if (this.closed) throw new PerdureError("CLOSED", `${this.source} was closed`);
    if (this.#poison !== undefined) {
      throw new PerdureError("POISONED", `an operation on ${this.source} failed half-way`, { cause: this.#poison });
    }
  }

  get isPoisoned(): boolean {
    return this.#poison !== undefined;
  }

  /** Rule 7: an operation that failed half-way poisons the region for all its threads. */
  poison(reason: unknown): void {
    this.#poison ??= reason ?? new Error("unknown");
  }

  /**
   * Judges an error that ends an operation. Refusals of ours come before the first store of an operation (rule 5);
   * whatever else is thrown may have come in the middle of one.
   */
  failed(error: unknown): unknown {
    if (!isPerdureError(error) || error.code === "EIO") this.poison(error);
    return error;
  }

  /** @throws EBUSY when a handle holds the page */
  refusePinned(page: number): void {
    if (this.pins.size !== 0 && this.pins.has(page)) {
      throw new PerdureError("EBUSY", `page ${page} is held by a Page handle`);
    }
  }
}

/** Kinds of pages that belong to instances and stand in page tables of their own. */
export const tableKinds: readonly number[] = [kind.data, kind.volatile];
