import { isPerdureError, PerdureError } from "../base/index.ts";
import type { Analysis, FoundInstance } from "./analysis.ts";
import { kind } from "./claim.ts";
import type { FreePages } from "./free-pages.ts";
import { Shape } from "./geometry.ts";
import { type Geometry, type InstanceRecord, type RegionStateRecord, recordFlags, recordState } from "./layout.ts";
import { Gate, NameLocks } from "./locks.ts";
import { type ChunkArena, PageTable } from "./page-table.ts";
import { nameKey } from "./records.ts";
import type { ThinChunks } from "./thin-chunks.ts";

/** A page reserve that only overwriting may use, so that a full disk can still be written in place of itself. */
const RESERVE_SHARE = 64;
const MAX_RESERVE_PAGES = 256;
/** Of the reserve nobody keeps these for good: overwriting always has a page. */
export const MIN_RESERVE_PAGES = 2;

/** An instance while its region is open. */
export class InstanceState {
  /** Changes when a snapshot is taken: what was this instance is then below it. */
  owner: number;
  readonly gate: Gate = new Gate();
  record: InstanceRecord;
  /** Pages that are claimed for it now: tails of runs included, masks and what layers below hold left out. */
  pages: number;
  /** Pages of its masks: they take memory, but neither use up what it is guaranteed nor count against its quota. */
  maskPages: number;
  /** How many of them are tails of aligned runs. */
  tails: number;
  /** First index that does not belong to it. */
  limit: number;
  /** The layer below. */
  parent: InstanceState | undefined;
  /** Set when it was deleted: handles of it must not touch pages that may belong to others by now. */
  deleted = false;
  /** Set when its record is free: who looked through it looks again. */
  isEnded = false;
  /**
   * The pending instance that names this one as its source. Until it is committed or dropped its pages may come back
   * here, so nothing else may change here meanwhile.
   */
  save: InstanceState | undefined;
  #tables: (PageTable | undefined)[] = [];
  readonly #arena: ChunkArena;

  constructor(found: FoundInstance, arena: ChunkArena) {
    this.owner = found.owner;
    this.record = found.record;
    this.pages = found.pages;
    this.maskPages = found.maskPages;
    this.tails = found.tails;
    this.limit = found.limit;
    this.deleted = found.record.state === recordState.deleted || found.record.state === recordState.deleting;
    this.#tables[kind.data] = found.data;
    this.#tables[kind.table] = found.masks;
    this.#arena = arena;
  }

  /** Takes over the place of another state in all but its handles: what they have of each other is exchanged. */
  exchange(other: InstanceState): void {
    [this.owner, other.owner] = [other.owner, this.owner];
    [this.record, other.record] = [other.record, this.record];
    [this.pages, other.pages] = [other.pages, this.pages];
    [this.maskPages, other.maskPages] = [other.maskPages, this.maskPages];
    [this.tails, other.tails] = [other.tails, this.tails];
    [this.limit, other.limit] = [other.limit, this.limit];
    [this.parent, other.parent] = [other.parent, this.parent];
    [this.#tables, other.#tables] = [other.#tables, this.#tables];
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

  /** @throws READ_ONLY for a snapshot */
  refuseReadOnly(): void {
    if (!this.isReadOnly) return;
    throw new PerdureError("READ_ONLY", `"${this.record.name}" is a snapshot`);
  }

  get isPending(): boolean {
    return this.record.state === recordState.pending;
  }

  get isReadOnly(): boolean {
    return (this.record.flags & recordFlags.readOnly) !== 0;
  }
}

/**
 * What is derived from the media and shared by all that write a region, in one isolate so far: nothing in here is ever
 * stored, and opening makes it anew.
 */
export class RegionCore {
  readonly source: string;
  readonly shape: Shape;
  /** Changes with an upgrade only. */
  geometry: Geometry;
  readonly freePages: FreePages;
  readonly arena: ChunkArena;
  readonly instances: Map<number, InstanceState> = new Map();
  readonly byName: Map<string, InstanceState> = new Map();
  /** Page number of each directory page, 0 for one that is missing. */
  readonly directoryPages: number[];
  /** Records that hold an instance or held one in this generation: owner numbers are not given out twice in one. */
  readonly usedRecords: Set<number> = new Set();
  readonly names: NameLocks = new NameLocks();
  /** Locks of the names of pages of masks: an array of its own, since one is taken after the lock of a data name. */
  readonly tableNames: NameLocks = new NameLocks();
  /**
   * One word: the lock of all trees of layers. It is taken before any gate is closed, since only under it is known
   * which layers stand on which.
   */
  readonly treeLock: Int32Array = new Int32Array(new SharedArrayBuffer(4));
  /** One word each: the lock of the directory and the lock of the superblock's record. */
  readonly directoryLock: Int32Array = new Int32Array(new SharedArrayBuffer(4));
  readonly stateLock: Int32Array = new Int32Array(new SharedArrayBuffer(4));
  /** Of saves that were never committed, to whom their pages go back; until a writer opens they still claim them. */
  readonly lenders: ReadonlyMap<number, number>;
  /** How often each page is held by a handle. */
  readonly pins: Map<number, number> = new Map();
  readonly reservePages: number;
  /** Where the backing is allocated chunk by chunk. */
  chunks: ThinChunks | undefined;
  /** Pages that instances are guaranteed and do not have yet. */
  promised = 0;
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
    const saves = Array.from(analysis.instances.values()).filter(({ ends, record }) => ends && record.source !== 0);
    this.lenders = new Map(saves.map(({ owner, record }) => [owner, record.source]));
    for (const found of analysis.instances.values()) if (!found.ends) this.addInstance(found);
    for (const instance of this.instances.values()) instance.parent = this.instances.get(instance.record.parent);
  }

  addInstance(found: FoundInstance): InstanceState {
    const instance = new InstanceState(found, this.arena);
    const { record } = found;
    this.instances.set(instance.owner, instance);
    instance.parent = this.instances.get(record.parent);
    if (instance.isPending) this.#beginSave(instance);
    if (record.state === recordState.live) this.byName.set(nameKey(record.subsystem, record.name), instance);
    this.promised += missingOf(instance);
    return instance;
  }

  // What a save takes its pages from, and what it is a layer over, does not change until it ends.
  #beginSave(instance: InstanceState): void {
    const source = this.instances.get(instance.record.source);
    if (source !== undefined) source.save = instance;
    if (instance.parent !== undefined) instance.parent.save = instance;
  }

  removeInstance(instance: InstanceState): void {
    const key = nameKey(instance.record.subsystem, instance.record.name);
    instance.isEnded = true;
    this.instances.delete(instance.owner);
    this.promised -= missingOf(instance);
    this.endSave(instance);
    if (this.byName.get(key) === instance) this.byName.delete(key);
  }

  /** The source of a save is free again. */
  endSave(instance: InstanceState): void {
    for (const other of this.instances.values()) if (other.save === instance) other.save = undefined;
  }

  /** Counts pages that an instance was given, or that it lost. */
  addPages(instance: InstanceState, change: number): void {
    this.promised -= missingOf(instance);
    instance.pages += change;
    this.promised += missingOf(instance);
  }

  /** Changes what an instance is guaranteed, or whether it is. */
  change(instance: InstanceState, record: InstanceRecord, deleted: boolean): void {
    this.promised -= missingOf(instance);
    instance.record = record;
    instance.deleted = deleted;
    this.promised += missingOf(instance);
  }

  /** Lets the handles of an instance go on with the layer that stands on it and has its name now. */
  succeed(instance: InstanceState, top: InstanceState): void {
    this.endSave(top);
    instance.exchange(top);
    instance.parent = top;
    for (const state of [instance, top]) {
      this.instances.set(state.owner, state);
      this.byName.set(nameKey(state.record.subsystem, state.record.name), state);
    }
  }

  /** The layers that stand on an instance. */
  childrenOf(instance: InstanceState): InstanceState[] {
    return Array.from(this.instances.values()).filter(({ parent }) => parent === instance);
  }

  /** Pages of layers that have no name and that several others stand on. */
  get hiddenPages(): number {
    const hidden = Array.from(this.instances.values()).filter(({ record }) => record.state === recordState.deleting);
    return hidden.reduce((sum, { pages, maskPages }) => sum + pages + maskPages, 0);
  }

  /** Free pages: with those above the high-water mark, those without memory, and the reserve. The last is metadata. */
  get freeCount(): number {
    const mark = this.state.marks[0];
    const holes = this.chunks === undefined ? 0 : this.chunks.holePages;
    return this.freePages.count + holes + Math.max(0, this.shape.lastPage - mark);
  }

  /** Version 0 of the format has no layers. */
  get hasLayers(): boolean {
    return this.geometry.version > 0;
  }

  /** @throws UNSUPPORTED_VERSION for what format version 0 does not have */
  refuseOldFormat(what: string): void {
    if (this.hasLayers) return;
    throw new PerdureError(
      "UNSUPPORTED_VERSION",
      `${this.source} is of format version 0, which does not have ${what}`,
      {
        remedy: "run `perdure upgrade` on it: nothing in it is lost, but older programs cannot open it any longer",
      },
    );
  }

  /** The next number of the one sequence of the region. */
  nextSequence(): number {
    return ++this.#sequence;
  }

  /** @throws CLOSED, POISONED */
  refuseUnusable(): void {
    if (this.closed) throw new PerdureError("CLOSED", `${this.source} was closed`);
    if (this.#poison !== undefined) {
      const why = this.#poison instanceof Error ? `: ${this.#poison.message}` : "";
      throw new PerdureError("POISONED", `an operation on ${this.source} failed half-way${why}`, {
        cause: this.#poison,
      });
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
    if (!isPerdureError(error) || error.code === "EIO" || error.code === "MEMORY_LOST") this.poison(error);
    return error;
  }

  /** @throws EBUSY when a handle holds the page */
  refusePinned(page: number): void {
    if (this.pins.size !== 0 && this.pins.has(page)) {
      throw new PerdureError("EBUSY", `page ${page} is held by a Page handle`);
    }
  }
}

/** How many pages an instance is guaranteed and does not have. One without a name is guaranteed none. */
export function missingOf({ record, pages, deleted }: InstanceState): number {
  return deleted ? 0 : Math.max(0, record.quotaMinPages - pages);
}

/** Kinds of pages that belong to instances, stand in page tables of their own and are bounded by the size. */
export const tableKinds: readonly number[] = [kind.data, kind.volatile];
