/** The rule for stores (docs/model.md) that a mutant breaks, or the part of the layout. */
export type Rule = 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | "revisions" | "mark" | "recovery" | "save" | "limbo" | "layers";

/** What operations a search prefers, so that it comes to the point sooner. */
export type Topic =
  | "create"
  | "publish"
  | "delete"
  | "resize"
  | "write"
  | "free"
  | "hand-over"
  | "run"
  | "volatile"
  | "store"
  | "save"
  | "snapshot"
  | "clone"
  | "promote"
  | "layer"
  | "undelete"
  | "purge"
  | "close"
  | "die"
  | "crash";

/** How a mutant is searched for: random sequences of one thread, or schedules of two. */
export type Search =
  | {
      readonly by: "kill" | "power";
      readonly focus?: readonly Topic[];
      readonly limbo?: true;
    }
  | {
      readonly by: "threads";
      readonly crash: "kill" | "power";
      readonly scenarios: readonly string[];
      readonly stripes?: number;
    };

export interface Mutant {
  readonly rule: Rule;
  /** What it does wrong. */
  readonly breaks: string;
  readonly search: Search;
}

export const kill = (...focus: Topic[]): Search => ({ by: "kill", focus });
export const power = (...focus: Topic[]): Search => ({ by: "power", focus });
export const limbo = (...focus: Topic[]): Search => ({ by: "power", focus, limbo: true });
export const threads = (crash: "kill" | "power", ...scenarios: string[]): Search => ({
  by: "threads",
  crash,
  scenarios,
});

/** A fence of the operations, and what finds out that it is missing. */
export interface Fence {
  /** Why it may be missing without harm; it is kept where the same code also serves a place that needs it. */
  readonly harmless?: string;
  readonly search: Search;
}
