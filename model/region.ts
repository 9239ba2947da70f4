import { endPage, LIVE, type Name, nameKey, PENDING, RECORD_FREE, type State } from "./layout.ts";
import type { Media } from "./media.ts";
import type { Mutants } from "./mutant-names.ts";
import type { Entry } from "./record.ts";
import type { Task } from "./tasks.ts";

export interface RegionOptions {
  readonly mutants: Mutants;
  /** Withdrawn pages wait for the next fence of the thread instead of being fenced at once. One thread only. */
  readonly limbo: boolean;
  /** Name locks are shared by all names of a stripe; 0 gives every name a lock of its own. */
  readonly stripes: number;
}

/** An opened region: what its threads share, none of it on the media. */
export class Region {
  readonly media: Media;
  readonly mutants: Mutants;
  readonly limbo: boolean;
  readonly stripes: number;
  readonly locks: Locks = new Locks();
  directory: Entry[] = [];
  /** Directory indices of records that an operation has taken and not yet written. */
  readonly takenRecords: Set<number> = new Set();
  /** Page of every name. */
  tables: Map<number, number> = new Map();
  free: number[] = [];
  /** The one counter from which all dual records get their sequences. */
  sequence = 0;
  mark = 0;
  generation = 0;
  writerId = 0;
  nextOwner = 0;
  /** Set when a thread died inside an operation: the region must be opened again. */
  poisoned = false;

  constructor(media: Media, options: RegionOptions) {
    this.media = media;
    this.mutants = options.mutants;
    this.limbo = options.limbo;
    this.stripes = options.stripes;
  }

  /** The same volatile state over other media: where a replayed schedule starts. */
  copy(media: Media): Region {
    const copy = new Region(media, this);
    copy.directory = this.directory.map((entry) => ({ ...entry }));
    copy.tables = new Map(this.tables);
    copy.free = [...this.free];
    copy.sequence = this.sequence;
    copy.mark = this.mark;
    copy.generation = this.generation;
    copy.writerId = this.writerId;
    copy.nextOwner = this.nextOwner;
    return copy;
  }

  /** Directory index of the instance of a name, -1 without one. Of two live ones the newer sequence counts. */
  find(name: number, state: State = LIVE): number {
    let found = -1;
    for (const [d, entry] of this.directory.entries()) {
      if (entry.state !== state || entry.name !== name) continue;
      if (found < 0 || entry.sequence > this.directory[found].sequence) found = d;
    }
    return found;
  }

  /** The record of an owner, while it has one. */
  entryOf(owner: number): Entry | undefined {
    return this.directory.find((entry) => entry.state !== RECORD_FREE && entry.owner === owner);
  }

  /** Directory indices of the layers that stand on one. A pending one counts: it may be published. */
  childrenOf(owner: number): number[] {
    const none = this.mutants.has("pending-is-no-child") ? PENDING : RECORD_FREE;
    return [...this.directory.keys()].filter((d) => {
      const { state, parent } = this.directory[d];
      return parent === owner && state !== RECORD_FREE && state !== none;
    });
  }

  pageOf(name: Name): number | undefined {
    return this.tables.get(nameKey(name.owner, name.kind, name.index));
  }

  setPage(name: Name, page: number): void {
    this.tables.set(nameKey(name.owner, name.kind, name.index), page);
  }

  clearPage(name: Name): void {
    this.tables.delete(nameKey(name.owner, name.kind, name.index));
  }

  /** Whether so many pages can still be had, counting those above the mark. */
  hasRoom(pages: number): boolean {
    return this.free.length + (endPage - this.mark) >= pages;
  }
}

/** Locks and drains between threads, kept in shared memory by the real thing. */
export class Locks {
  readonly #held: Map<string, number> = new Map();
  readonly #inside: Map<number, number> = new Map();

  *lock(thread: number, key: string): Task<void> {
    yield () => !this.#held.has(key);
    this.#held.set(key, thread);
  }

  unlock(thread: number, key: string): void {
    if (this.#held.get(key) === thread) this.#held.delete(key);
  }

  /** Enters an instance as one of many operations. */
  *enter(name: number): Task<void> {
    yield () => !this.#held.has(`drain ${name}`);
    this.#inside.set(name, (this.#inside.get(name) ?? 0) + 1);
  }

  leave(name: number): void {
    this.#inside.set(name, (this.#inside.get(name) ?? 0) - 1);
  }

  /** Lets the operations inside an instance end and keeps others out. */
  *drain(thread: number, name: number): Task<void> {
    yield* this.lock(thread, `drain ${name}`);
    yield () => (this.#inside.get(name) ?? 0) === 0;
  }

  admit(thread: number, name: number): void {
    this.unlock(thread, `drain ${name}`);
  }

  /** Forgets every lock: what happens to them when their thread dies. */
  clear(): void {
    this.#held.clear();
    this.#inside.clear();
  }
}
