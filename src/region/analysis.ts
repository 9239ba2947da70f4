import type { Finding } from "./findings.ts";
import type { FreePages } from "./free-pages.ts";
import type { Geometry, InstanceRecord, RegionStateRecord } from "./layout.ts";
import type { ChunkArena, PageTable } from "./page-table.ts";

/** A slot of a dual record that is to be copied over the other, or zeroed when there is nothing to copy. */
export interface Heal {
  readonly winner: number | undefined;
  readonly loser: number;
}

/** Gives a page of an uncommitted save back to the instance that it came from. */
export interface GiveBack {
  readonly page: number;
  readonly index: number;
  readonly kind: number;
  readonly owner: number;
}

/** What recovery stores; nothing else. Empty after a clean close. */
export interface Plan {
  readonly heal: Heal[];
  /** Pages to withdraw: losers, pages beyond a size, of dead instances, volatile ones; heads of runs among them. */
  readonly free: number[];
  /** Tails of runs, withdrawn after everything in `free` is persisted. */
  readonly freeTails: number[];
  readonly giveBack: GiveBack[];
  /** Owners whose records are rewritten with the state that `FoundInstance.record` says: they were left half-way. */
  readonly restate: number[];
  /** Owners whose records become free last of all, layers before what they stand on. */
  readonly endRecords: number[];
}

/** Why pages are withdrawn, in pages; for the start report. */
export interface Recovered {
  losers: number;
  orphans: number;
  beyondSize: number;
  volatile: number;
  unfinished: number;
}

/** An instance as the media tell it. */
export interface FoundInstance {
  readonly owner: number;
  /** As it counts: a state that was left half-way is put right here. */
  record: InstanceRecord;
  /** Ends with this open: pending, or half-deleted and no layer stands on it. */
  ends: boolean;
  /** First index that does not belong to it; 0 for one that ends. */
  limit: number;
  /** Its persistent pages by index. */
  readonly data: PageTable;
  /** Its pages of masks. */
  readonly masks: PageTable;
  /** Persistent pages, those of masks left out. */
  pages: number;
  maskPages: number;
  /** Pages that are tails of aligned runs. */
  tails: number;
}

/** Everything that is derived from the media when a region is opened. Making it stores nothing. */
export interface Analysis {
  readonly geometry: Geometry;
  /** The first place of the geometry is to be rewritten from its copy: an upgrade was killed there. */
  readonly isTornUpgrade: boolean;
  /** The copy of the geometry is to be rewritten from its first place. */
  readonly isCopyStale: boolean;
  readonly state: RegionStateRecord;
  /** Slot of the state record that does not count, or undefined when both agree. */
  readonly stateLoser: number | undefined;
  readonly plan: Plan;
  readonly recovered: Recovered;
  readonly findings: readonly Finding[];
  readonly findingCount: number;
  readonly instances: Map<number, FoundInstance>;
  readonly directoryPages: number[];
  readonly freePages: FreePages;
  readonly arena: ChunkArena;
  /** The highest sequence seen in any record. */
  readonly sequence: number;
}

/** How many structures that stand on media twice are healed by the next open. */
export function healedOf({ plan, stateLoser, isTornUpgrade, isCopyStale }: Analysis): number {
  return plan.heal.length + (stateLoser === undefined ? 0 : 1) + (isTornUpgrade || isCopyStale ? 1 : 0);
}
