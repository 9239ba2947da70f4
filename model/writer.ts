import type { Name } from "./layout.ts";
import { Memory } from "./media.ts";
import type { FenceName } from "./mutant-names.ts";
import type { Region } from "./region.ts";
import type { Task } from "./tasks.ts";

/** One thread that changes a region: its handle of the media, its limbo, its way to the locks. */
export class Writer {
  readonly region: Region;
  readonly thread: number;
  readonly memory: Memory;
  /** Pages withdrawn and flushed by this thread, not yet fenced by it. */
  readonly limbo: number[] = [];
  /** Dual records whose second slot this thread has flushed, not yet fenced. */
  readonly unsettled: Set<number> = new Set();

  constructor(region: Region, thread: number) {
    this.region = region;
    this.thread = thread;
    this.memory = new Memory(region.media, thread, region.mutants);
  }

  /** A fence settles the limbo of the thread that flushed, and of no other. */
  fence(name: FenceName): void {
    this.memory.fence(name);
    this.region.free.push(...this.limbo);
    this.limbo.length = 0;
    this.unsettled.clear();
  }

  /** No free, hand-over, delete, resize or save starts before what this thread withdrew is durable. */
  settle(): void {
    if (this.limbo.length === 0 || this.region.mutants.has("limbo-not-settled")) return;
    this.fence("settle");
  }

  /** Rule 8: locks names in the order of their stripes, one stripe once. */
  *lockNames(names: readonly Name[]): Task<void> {
    const { mutants, locks } = this.region;
    if (mutants.has("no-name-lock")) return;
    for (const key of this.#lockKeys(names)) yield* locks.lock(this.thread, key);
  }

  unlockNames(names: readonly Name[]): void {
    for (const key of this.#lockKeys(names)) this.region.locks.unlock(this.thread, key);
  }

  /** Rule 8: locks of TABLE names are an array of their own, taken after that of a name. */
  *lockTable(name: Name): Task<void> {
    if (!this.region.mutants.has("no-table-lock")) yield* this.region.locks.lock(this.thread, this.#tableKey(name));
  }

  unlockTable(name: Name): void {
    this.region.locks.unlock(this.thread, this.#tableKey(name));
  }

  /** Rule 8: one lock for all changes of what stands on what, taken after the instances are drained. */
  *lockTree(): Task<void> {
    if (!this.region.mutants.has("no-tree-lock")) yield* this.region.locks.lock(this.thread, "tree");
  }

  unlockTree(): void {
    this.region.locks.unlock(this.thread, "tree");
  }

  /** Enters instances in the order of their names, so that two operations cannot wait for each other. */
  *enter(names: readonly number[]): Task<void> {
    if (this.region.mutants.has("no-drain")) return;
    for (const name of ordered(names)) yield* this.region.locks.enter(name);
  }

  leave(names: readonly number[]): void {
    if (this.region.mutants.has("no-drain")) return;
    for (const name of ordered(names)) this.region.locks.leave(name);
  }

  /** Rule 8: operations drain before delete, publish, resize and save. */
  *drain(names: readonly number[]): Task<void> {
    if (this.region.mutants.has("no-drain")) return;
    for (const name of ordered(names)) yield* this.region.locks.drain(this.thread, name);
  }

  admit(names: readonly number[]): void {
    for (const name of ordered(names)) this.region.locks.admit(this.thread, name);
  }

  #tableKey({ owner, kind, index }: Name): string {
    const { stripes, mutants } = this.region;
    if (stripes === 0) return `name ${owner} ${kind} ${index}`;
    const array = mutants.has("tables-among-names") ? "stripe" : "tables";
    return `${array} ${(owner + kind + index) % stripes}`;
  }

  #lockKeys(names: readonly Name[]): string[] {
    const { stripes, mutants } = this.region;
    const keys = names.map(({ owner, kind, index }) =>
      stripes === 0 ? `name ${owner} ${kind} ${index}` : `stripe ${(owner + kind + index) % stripes}`,
    );
    return mutants.has("stripes-as-they-come") ? keys : [...new Set(keys)].sort();
  }
}

function ordered(names: readonly number[]): number[] {
  return [...new Set(names)].sort((a, b) => a - b);
}
