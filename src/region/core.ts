import { assert, isPerdureError, PerdureError } from "../base/index.ts";
import type { Memory } from "../memory/index.ts";
import type { Analysis, FoundInstance } from "./analysis.ts";
import { kind } from "./claim.ts";
import type { FreePages } from "./free-pages.ts";
import { Shape } from "./geometry.ts";
import { InstanceState } from "./instance-state.ts";
import {
  type Geometry,
  type InstanceRecord,
  type RegionStateRecord,
  recordState,
  regionOwner,
  stateLayout,
  stateSlots,
} from "./layout.ts";
import type { NameLocks } from "./locks.ts";
import type { OwnerWords } from "./owner-words.ts";
import type { ChunkArena } from "./page-table.ts";
import type { Pins } from "./pins.ts";
import { readChanges, readDirectoryPages } from "./read-changes.ts";
import { nameKey } from "./records.ts";
import { buryThreads, makeParts, type SharedParts, watchParts } from "./shared-parts.ts";
import type { SharedWords } from "./shared-words.ts";
import type { ThinChunks } from "./thin-chunks.ts";

/** Who meets another thread in the middle of some instructions looks again, this often. */
const MOST_LOOKS = 1_000_000;
/** A page reserve that only overwriting may use, so that a full disk can still be written in place of itself. */
const RESERVE_SHARE = 64;
const MAX_RESERVE_PAGES = 256;
/** Of the reserve nobody keeps these for good: overwriting always has a page. */
export const MIN_RESERVE_PAGES = 2;

/** What a core is made of beside what threads share. */
export interface CoreParts {
  readonly memory: Memory;
  readonly geometry: Geometry;
  readonly state: RegionStateRecord;
  readonly shared: SharedParts;
}

/**
 * What is derived from the media and shared by all that write a region, as one thread knows it: nothing in here is ever
 * stored, and opening makes it anew. Counts, locks, page tables and free pages are shared words. Instances are objects
 * of each thread: it catches up with the records that others have changed whenever it begins something, has entered a
 * gate or holds a lock.
 */
export class RegionCore {
  readonly source: string;
  readonly memory: Memory;
  readonly shape: Shape;
  /** Changes with an upgrade only. */
  geometry: Geometry;
  readonly shared: SharedParts;
  readonly words: SharedWords;
  readonly owners: OwnerWords;
  readonly freePages: FreePages;
  readonly arena: ChunkArena;
  readonly pins: Pins;
  readonly names: NameLocks;
  /** Locks of the names of pages of masks: an array of its own, since one is taken after the lock of a data name. */
  readonly tableNames: NameLocks;
  /**
   * One word: the lock of all trees of layers. It is taken before any gate is closed, since only under it is known
   * which layers stand on which.
   */
  readonly treeLock: Int32Array;
  /** One word each: the lock of the directory and the lock of the superblock's record. */
  readonly directoryLock: Int32Array;
  readonly stateLock: Int32Array;
  /** Instances by owner, by line and by name, as this thread knows them. */
  readonly known: KnownInstances = { byOwner: new Map(), byLine: new Map(), byName: new Map() };
  /** Page number of each directory page, 0 for one that is missing. */
  readonly directoryPages: number[] = [];
  /** Of saves that were never committed, to whom their pages go back; until a writer opens they still claim them. */
  readonly lenders: Map<number, number> = new Map();
  readonly reservePages: number;
  /** Where the backing is allocated chunk by chunk. */
  chunks: ThinChunks | undefined;
  /** Its record as this thread last read or wrote it; what changes while it is open is in `mark`. */
  state: RegionStateRecord;
  /** Closed by this thread. */
  closed = false;
  /** Versions that this thread has seen: of the directory, of the list of its pages, of the state record. */
  readonly #seen = { directory: 0, growth: 0, state: 0 };
  #poison: unknown;

  private constructor({ memory, geometry, state, shared }: CoreParts) {
    this.source = memory.ranges[0].source;
    this.memory = memory;
    this.geometry = geometry;
    this.shape = new Shape(geometry);
    this.shared = shared;
    this.words = shared.words;
    this.owners = shared.owners;
    this.freePages = shared.freePages;
    this.arena = shared.arena;
    this.pins = shared.pins;
    this.names = shared.names;
    this.tableNames = shared.tableNames;
    this.treeLock = shared.words.treeLock;
    this.directoryLock = shared.words.directoryLock;
    this.stateLock = shared.words.stateLock;
    this.state = state;
    const share = Math.floor(this.shape.pages / RESERVE_SHARE);
    this.reservePages = Math.max(MIN_RESERVE_PAGES, Math.min(MAX_RESERVE_PAGES, share));
  }

  /** What the thread that opens a region has. */
  static open(memory: Memory, analysis: Analysis): RegionCore {
    const { geometry, state } = analysis;
    const core = new RegionCore({ memory, geometry, state, shared: makeParts(analysis, geometry.pages) });
    core.directoryPages.push(...analysis.directoryPages);
    const pages = core.arena.table(regionOwner, kind.directory);
    for (const [index, page] of analysis.directoryPages.entries()) if (page !== 0) pages.set(index, page);
    for (const { owner, ends, record } of analysis.instances.values()) {
      if (ends && record.source !== 0) core.lenders.set(owner, record.source);
    }
    for (const found of analysis.instances.values()) if (!found.ends) core.addInstance(found);
    for (const instance of core.known.byOwner.values()) {
      instance.parent = core.known.byOwner.get(instance.known.parent);
    }
    return core;
  }

  /** What a thread has that joins others. */
  static join(parts: CoreParts): RegionCore {
    const core = new RegionCore(parts);
    // Versions that nobody has seen: everything is read.
    core.#seen.growth = -1;
    core.#seen.state = -1;
    core.#seen.directory = (core.words.directoryVersion - 2 ** 30) | 0;
    core.catchUp();
    core.watch();
    return core;
  }

  /** Instances by owner. */
  get instances(): Map<number, InstanceState> {
    this.catchUp();
    return this.known.byOwner;
  }

  /** Live instances by subsystem and name. */
  get byName(): Map<string, InstanceState> {
    this.catchUp();
    return this.known.byName;
  }

  /** Learns what other threads have changed in the directory. One plain load where that is nothing. */
  catchUp(): void {
    // Records that change while they are read may not fit those that were read before: then once more.
    for (let version = this.words.directoryVersion; version !== this.#seen.directory; ) {
      this.#catchUpWith(version);
      version = this.words.directoryVersion;
    }
  }

  #catchUpWith(version: number): void {
    const from = this.#seen.directory;
    this.#seen.directory = version;
    this.arena.catchUp();
    const growth = this.words.directoryGrowth;
    if (growth !== this.#seen.growth) readDirectoryPages(this);
    this.#seen.growth = growth;
    // What is told next comes within some nanoseconds: who tells it holds the lock of the directory.
    for (let looks = 0; !readChanges(this, this.words.changesBetween(from, this.#seen.directory)); looks++) {
      assert(looks < MOST_LOOKS, "two that exchange what they are known by come to an end");
      this.#seen.directory = this.words.directoryVersion;
    }
  }

  /** Tells the other threads that the record of an owner was rewritten. Under the lock of the directory. */
  tellChange(owner: number): void {
    this.#seen.directory = this.words.countChange(owner);
  }

  /** Takes a page into the list of the directory's. Under the lock of the directory. */
  addDirectoryPage(index: number, page: number): void {
    this.directoryPages[index] = page;
    this.arena.table(regionOwner, kind.directory).set(index, page);
    this.#seen.growth = this.words.countGrowth();
  }

  /** The region's record as it is now. Under its lock. */
  currentState(): RegionStateRecord {
    if (this.#seen.state !== this.words.stateVersion) {
      this.state = stateLayout.decode(this.memory.bytes(stateSlots.a, stateLayout.sizeBytes));
      this.#seen.state = this.words.stateVersion;
    }
    return this.state;
  }

  /** Tells the other threads of a new record of the region. Under its lock. */
  changeState(state: RegionStateRecord): void {
    this.state = state;
    this.#seen.state = this.words.countState();
    this.words.mark = state.marks[0];
  }

  addInstance(found: FoundInstance): InstanceState {
    const instance = new InstanceState(found, this);
    const { record, owner } = found;
    this.owners.use(owner);
    if (found.pages !== 0) this.owners.addPages(owner, found.pages);
    if (found.maskPages !== 0) this.owners.addMaskPages(owner, found.maskPages);
    if (found.tails !== 0) this.owners.addTails(owner, found.tails);
    this.known.byOwner.set(owner, instance);
    this.known.byLine.set(instance.line, instance);
    instance.parent = this.known.byOwner.get(record.parent);
    if (instance.isPending) this.#beginSave(instance);
    if (record.state === recordState.live) this.known.byName.set(nameKey(record.subsystem, record.name), instance);
    this.words.promise(missingOf(instance));
    return instance;
  }

  // What a save takes its pages from, and what it is a layer over, does not change until it ends.
  #beginSave(instance: InstanceState): void {
    const source = this.known.byOwner.get(instance.known.source);
    if (source !== undefined) source.save = instance;
    if (instance.parent !== undefined) instance.parent.save = instance;
  }

  removeInstance(instance: InstanceState): void {
    const key = nameKey(instance.known.subsystem, instance.known.name);
    instance.isEnded = true;
    this.known.byOwner.delete(instance.owner);
    this.known.byLine.delete(instance.line);
    this.arena.forget(instance.owner);
    this.words.promise(-missingOf(instance));
    this.endSave(instance);
    if (this.known.byName.get(key) === instance) this.known.byName.delete(key);
  }

  /** The source of a save is free again. */
  endSave(instance: InstanceState): void {
    for (const other of this.known.byOwner.values()) if (other.save === instance) other.save = undefined;
  }

  /** Counts pages that an instance was given, or that it lost. */
  addPages(instance: InstanceState, change: number): void {
    const before = this.owners.addPages(instance.owner, change);
    if (instance.known.quotaMinPages === 0) return;
    this.words.promise(missingOf(instance, before + change) - missingOf(instance, before));
  }

  /** Changes what an instance is guaranteed, or whether it is. */
  change(instance: InstanceState, record: InstanceRecord, deleted: boolean): void {
    const before = missingOf(instance);
    instance.known = record;
    instance.deleted = deleted;
    this.words.promise(missingOf(instance) - before);
  }

  /** Lets the handles of an instance go on with the layer that stands on it and has its name now. */
  succeed(instance: InstanceState, top: InstanceState): void {
    this.endSave(top);
    this.owners.exchangeLines(instance.owner, top.owner);
    instance.exchange(top);
    instance.parent = top;
    for (const state of [instance, top]) {
      this.known.byOwner.set(state.owner, state);
      this.known.byName.set(nameKey(state.known.subsystem, state.known.name), state);
      this.tellChange(state.owner);
    }
  }

  /** The layers that stand on an instance. */
  childrenOf(instance: InstanceState): InstanceState[] {
    return Array.from(this.instances.values()).filter(({ parent }) => parent === instance);
  }

  /** Pages of layers that have no name and that several others stand on. */
  get hiddenPages(): number {
    return this.#pagesIn(recordState.deleting);
  }

  /** Pages of deleted instances, which are purged when there are no free ones. */
  get deletedPages(): number {
    return this.#pagesIn(recordState.deleted);
  }

  #pagesIn(state: number): number {
    const chosen = Array.from(this.instances.values()).filter(({ record }) => record.state === state);
    return chosen.reduce((sum, { pages, maskPages }) => sum + pages + maskPages, 0);
  }

  /** Free pages: with those above the high-water mark, those without memory, and the reserve. The last is metadata. */
  get freeCount(): number {
    const holes = this.chunks === undefined ? 0 : this.chunks.holePages;
    return this.freePages.count + holes + Math.max(0, this.shape.lastPage - this.words.mark);
  }

  /** Pages that instances are guaranteed and do not have yet. */
  get promised(): number {
    return this.words.promised;
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
    return this.words.nextSequence();
  }

  /** @throws CLOSED, POISONED */
  refuseUnusable(): void {
    if (this.closed) throw new PerdureError("CLOSED", `${this.source} was closed`);
    if (this.isPoisoned) {
      const cause = this.#poison ?? new Error(this.words.reason);
      const why = cause instanceof Error ? `: ${cause.message}` : "";
      throw new PerdureError("POISONED", `an operation on ${this.source} failed half-way${why}`, { cause });
    }
    this.catchUp();
  }

  /**
   * From now on a thread of this isolate that waits for long looks whether one of the others has ended: what that held
   * nobody gives back.
   */
  watch(): void {
    watchParts(this.shared, () => {
      buryThreads(this.shared);
      this.refuseUnusable();
    });
  }

  get isPoisoned(): boolean {
    return this.words.status !== 0 && this.words.isPoisoned;
  }

  /** Rule 7: an operation that failed half-way poisons the region for all its threads. */
  poison(reason: unknown): void {
    this.#poison ??= reason ?? new Error("unknown");
    this.words.poison(this.#poison instanceof Error ? this.#poison.message : String(this.#poison));
  }

  /**
   * Judges an error that ends an operation. Refusals of ours come before the first store of an operation (rule 5);
   * whatever else is thrown may have come in the middle of one.
   */
  failed(error: unknown): unknown {
    if (!isPerdureError(error) || error.code === "EIO" || error.code === "MEMORY_LOST") this.poison(error);
    return error;
  }

  /** What a reader is told of a page, or of the masks that hide it, that it knows and that are withdrawn. */
  replaced(index: number): PerdureError {
    return new PerdureError("EBUSY", `the page at index ${index} was replaced by the writer of ${this.source}`, {
      remedy: "open the region again to see it as it is now",
    });
  }

  /** @throws EBUSY when a handle holds the page */
  refusePinned(page: number): void {
    if (this.pins.has(page)) throw new PerdureError("EBUSY", `page ${page} is held by a Page handle`);
  }
}

/** Instances as one thread knows them. */
interface KnownInstances {
  readonly byOwner: Map<number, InstanceState>;
  readonly byLine: Map<number, InstanceState>;
  /** Live ones only. */
  readonly byName: Map<string, InstanceState>;
}

/** How many pages an instance is guaranteed and does not have. One without a name is guaranteed none. */
export function missingOf(instance: InstanceState, pages: number = instance.pages): number {
  return instance.deleted ? 0 : missingWhenNamed(instance, pages);
}

/** How many pages it would have to be guaranteed as one that has a name. */
export function missingWhenNamed({ known }: InstanceState, pages: number): number {
  return Math.max(0, known.quotaMinPages - pages);
}

/** Kinds of pages that belong to instances, stand in page tables of their own and are bounded by the size. */
export const tableKinds: readonly number[] = [kind.data, kind.volatile];
