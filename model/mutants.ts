import type { FaultName, FenceName, HarmlessName } from "./mutant-names.ts";

/** The rule for stores (docs/model.md) that a mutant breaks, or the part of the layout. */
export type Rule = 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | "revisions" | "mark" | "recovery" | "save" | "limbo";

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

const kill = (...focus: Topic[]): Search => ({ by: "kill", focus });
const power = (...focus: Topic[]): Search => ({ by: "power", focus });
const limbo = (...focus: Topic[]): Search => ({ by: "power", focus, limbo: true });
const threads = (crash: "kill" | "power", ...scenarios: string[]): Search => ({ by: "threads", crash, scenarios });

/** Planted faults of the operations. Every one must be caught. */
export const faults: Readonly<Record<FaultName, Mutant>> = {
  "claim-before-fill": { rule: 1, breaks: "a page is claimed, then filled", search: kill("write") },
  "run-head-before-tails": { rule: 1, breaks: "the head of a run is claimed before its tails", search: kill("run") },
  "created-live": {
    rule: 1,
    breaks: "an instance is live before its pages are there",
    search: kill("store", "create"),
  },
  "directory-claim-before-fill": {
    rule: 1,
    breaks: "a DIRECTORY page is claimed before it is zeroed",
    search: kill("create", "write", "free"),
  },
  "volatile-kept-unflushed": {
    rule: 1,
    breaks: "a VOLATILE page becomes persistent without its content being persisted",
    search: power("volatile", "hand-over"),
  },
  "withdraw-before-claim": { rule: 2, breaks: "replace withdraws the old page first", search: kill("write") },
  "hand-over-withdraws-first": {
    rule: 2,
    breaks: "a hand-over withdraws the page it replaces first",
    search: kill("write", "hand-over"),
  },
  "reuse-before-withdraw": {
    rule: 2,
    breaks: "a page is in the free list before it is withdrawn",
    search: threads("kill", "freeAlloc"),
  },
  "reuse-before-fence": {
    rule: 2,
    breaks: "a page is in the free list before its withdrawal is durable",
    search: threads("power", "freeAlloc", "replaceAlloc"),
  },
  "run-tails-withdrawn-first": { rule: 2, breaks: "a run is withdrawn from its tails", search: kill("run", "free") },
  "tails-freed-with-heads": {
    rule: 2,
    breaks: "recovery frees the tails of losing heads in one batch with them",
    search: kill("run", "crash"),
  },
  "delete-record-before-pages": {
    rule: 2,
    breaks: "a deleted instance's record is free before its pages",
    search: kill("delete", "write", "store"),
  },
  "records-freed-before-pages": {
    rule: 2,
    breaks: "recovery frees the records of dropped instances before their pages",
    search: kill("create", "write", "crash"),
  },
  "old-deleted-before-publish": {
    rule: 2,
    breaks: "publishing deletes the instance it replaces first",
    search: kill("store"),
  },
  "delete-pages-before-mark": {
    rule: 2,
    breaks: "delete withdraws pages of an instance that is still live",
    search: kill("delete", "store"),
  },
  "delete-without-mark": { rule: 2, breaks: "a live record becomes free at once", search: kill("delete", "store") },
  "shrink-pages-before-size": { rule: 2, breaks: "shrinking withdraws pages first", search: kill("resize", "store") },
  "shrink-leaves-pages": { rule: 2, breaks: "shrinking leaves the pages claimed", search: kill("resize", "store") },
  "record-in-one-place": { rule: 3, breaks: "both slots are one bulk write", search: kill("create") },
  "first-slot-first": { rule: 3, breaks: "the first slot is always rewritten first", search: kill("resize", "crash") },
  "slots-together": { rule: 3, breaks: "both slots are rewritten without a fence between", search: power("create") },
  "record-crc-ignored": { rule: 3, breaks: "a torn slot counts", search: kill("create") },
  "not-healed": { rule: 3, breaks: "recovery leaves slots that differ", search: kill("create") },
  "sequence-per-record": {
    rule: 3,
    breaks: "every record counts its own sequence",
    search: kill("store", "resize"),
  },
  "sequence-restarts": {
    rule: 3,
    breaks: "opening takes the sequence from the superblock alone",
    search: kill("store", "resize", "crash"),
  },
  "older-instance-wins": { rule: 3, breaks: "of two live records the older counts", search: kill("store") },
  "claim-in-two-stores": { rule: 4, breaks: "index, then claim, over a FREE entry", search: kill("write") },
  "claim-byte-by-byte": { rule: 4, breaks: "a claim is stored through a DataView", search: kill("write") },
  "hand-over-index-first": {
    rule: 4,
    breaks: "a hand-over stores index, then claim",
    search: kill("write", "hand-over"),
  },
  "hand-over-claim-first": {
    rule: 4,
    breaks: "a hand-over stores claim, then index",
    search: kill("write", "hand-over"),
  },
  "hand-over-byte-by-byte": {
    rule: 4,
    breaks: "a hand-over goes through a DataView",
    search: kill("write", "hand-over"),
  },
  "reserve-late": { rule: 5, breaks: "a save takes its pages as it goes", search: kill("store", "create") },
  "trusts-writer-id": {
    rule: 6,
    breaks: "opening trusts media that carry the id of the process that opens",
    search: kill("volatile", "crash", "write"),
  },
  "no-poison": { rule: 7, breaks: "a region goes on after a thread died in it", search: kill("write", "die") },
  "no-name-lock": { rule: 8, breaks: "names have no lock", search: threads("kill", "writeWrite") },
  "late-name-lock": { rule: 8, breaks: "the page is looked up before the lock", search: threads("kill", "writeWrite") },
  "unlock-before-table": {
    rule: 8,
    breaks: "a name is unlocked before the page table names the winner",
    search: threads("kill", "writeWrite"),
  },
  "unlock-before-withdraw": {
    rule: 8,
    breaks: "a name is unlocked before the loser is withdrawn",
    search: threads("kill", "writeWrite", "writeWriteWrite"),
  },
  "unlock-before-fence": {
    rule: 8,
    breaks: "a name is unlocked before the withdrawal is durable",
    search: threads("power", "writeWrite"),
  },
  "hand-over-locks-source-only": {
    rule: 8,
    breaks: "a hand-over does not lock the name it hands to",
    search: threads("kill", "writeHandedTo"),
  },
  "stripes-as-they-come": {
    rule: 8,
    breaks: "stripes are locked in the order of the names, and twice",
    search: { by: "threads", crash: "kill", scenarios: ["handHand"], stripes: 3 },
  },
  "no-drain": {
    rule: 8,
    breaks: "delete and resize do not wait",
    search: threads("kill", "deleteWrite", "resizeWrite"),
  },
  "save-admits-writers": {
    rule: 8,
    breaks: "a save drains the name it saves to, not the instance whose pages it takes",
    search: threads("kill", "saveWrite"),
  },
  "pending-unfenced-beside-threads": {
    rule: 8,
    breaks: "pages of a pending instance are left to a fence of the thread that publishes",
    search: threads("power", "pendingWritePublish"),
  },
  "record-taken-late": {
    rule: 8,
    breaks: "a free record is found, later taken",
    search: threads("kill", "createCreate"),
  },
  "no-superblock-lock": {
    rule: 8,
    breaks: "two threads raise the mark at once",
    search: threads("kill", "raiseRaise"),
  },
  "read-not-revalidated": {
    rule: 8,
    breaks: "a copy counts whatever became of the page",
    search: threads("kill", "readReuse"),
  },
  "read-trusts-page-table": {
    rule: 8,
    breaks: "a reader does not ask whether the page still claims the name",
    search: threads("kill", "readReuse"),
  },
  "page-table-cleared-first": {
    rule: 8,
    breaks: "delete empties the page table before the record says so",
    search: threads("kill", "readDelete"),
  },
  "hole-before-free": {
    rule: 8,
    breaks: "free empties the page table before the withdrawal is durable",
    search: threads("kill", "readFree"),
  },
  "same-revision": { rule: "revisions", breaks: "the winner has the loser's revision", search: kill("write") },
  "hand-over-same-revision": {
    rule: "revisions",
    breaks: "a page handed to an occupied name keeps its loser's revision",
    search: kill("write", "hand-over"),
  },
  "highest-revision-wins": { rule: "revisions", breaks: "0 loses against 3", search: kill("write", "hand-over") },
  "older-revision-wins": {
    rule: "revisions",
    breaks: "the older claim of a name counts",
    search: kill("write", "hand-over"),
  },
  "free-as-zero": { rule: "mark", breaks: "a page is freed by storing 0", search: kill("write", "free") },
  "mark-before-entries": {
    rule: "mark",
    breaks: "the mark is raised before its entries are written",
    search: kill("write", "run"),
  },
  "chunk-used-before-mark": {
    rule: "mark",
    breaks: "a thread takes a page of a chunk before the mark is durable",
    search: threads("kill", "raiseRaise"),
  },
  "strict-above-mark": {
    rule: "mark",
    breaks: "recovery takes a torn entry above the mark for damage",
    search: kill("run", "write"),
  },
  "pending-kept": { rule: "recovery", breaks: "opening keeps pending instances", search: kill("create", "write") },
  "volatile-kept": { rule: "recovery", breaks: "opening keeps VOLATILE pages", search: kill("volatile") },
  "beyond-size-kept": {
    rule: "recovery",
    breaks: "opening keeps pages beyond a size",
    search: kill("resize", "store"),
  },
  "open-state-last": {
    rule: "recovery",
    breaks: "opening changes frames before the state says open",
    search: kill("volatile", "close"),
  },
  "not-adopted": { rule: "recovery", breaks: "opening does not flush what it found", search: power("write", "crash") },
  "no-give-back": {
    rule: "save",
    breaks: "the pages of a save that never committed are freed",
    search: kill("save", "store"),
  },
  "handed-to-uncommitted": {
    rule: "save",
    breaks: "a page of a live instance is handed to one that the next start drops",
    search: kill("create", "hand-over", "write"),
  },
  "limbo-not-settled": {
    rule: "limbo",
    breaks: "a free starts while an older withdrawal may still be lost",
    search: limbo("write", "free", "hand-over"),
  },
  "record-not-settled": {
    rule: "limbo",
    breaks: "a record is rewritten while its last slot may still be lost",
    search: limbo("resize"),
  },
  "volatile-freed-unflushed": {
    rule: "limbo",
    breaks: "a VOLATILE page is freed without a flush, then its instance is deleted",
    search: power("volatile", "delete", "create", "publish"),
  },
};

/** A fence of the operations, and what finds out that it is missing. */
export interface Fence {
  /** Why it may be missing without harm; it is kept where the same code also serves a place that needs it. */
  readonly harmless?: string;
  readonly search: Search;
}

/** Every fence of the operations, removed alone. */
export const fences: Readonly<Record<FenceName, Fence>> = {
  "write.content": { search: power("write") },
  "write.claim": { search: power("write") },
  "write.end": { search: power("write", "free") },
  "free.end": { search: power("write", "free") },
  "hand-over.content": { search: power("volatile", "hand-over") },
  "hand-over.claim": { search: power("write", "hand-over") },
  "hand-over.end": { search: power("write", "hand-over", "free") },
  "run.tails": { search: power("run") },
  "run.head": { search: power("run") },
  "run.end": { search: power("run") },
  "run.tails-free": { search: power("run", "delete", "store") },
  "directory.content": { search: power("write", "store", "create") },
  "raise.entries": { search: power("write", "run") },
  "publish.pages": { search: power("store") },
  "delete.pages": { search: power("store", "delete") },
  "resize.pages": { search: power("resize", "store", "write") },
  "close.everything": { search: power("write", "close", "volatile") },
  "open.adopt": { search: limbo("close", "crash") },
  "open.frees": { search: power("run", "crash") },
  "open.tails": { search: power("run", "create", "crash") },
  settle: { search: limbo("write", "free") },
  "raise.1": { search: power("write", "run") },
  "raise.2": { search: threads("power", "raiseTwice") },
  "create.1": { search: power("create") },
  "create.2": { search: threads("power", "createPublish") },
  "publish.1": { search: power("store") },
  "publish.2": { search: power("store", "delete", "resize") },
  "resize.1": { search: power("resize") },
  "resize.2": { search: power("resize") },
  "delete.mark.1": { search: power("store", "delete") },
  "delete.mark.2": { search: power("create", "publish", "delete") },
  "delete.free.1": { search: power("store", "delete") },
  "delete.free.2": { search: power("store", "delete", "create") },
  "open.superblock.1": { search: power("create") },
  "open.superblock.2": { harmless: "the fence after the healed records covers it", search: power("crash") },
  "open.record.1": { search: power("create", "crash") },
  "open.record.2": { search: power("create", "crash") },
  "close.1": { search: power("close") },
  "close.2": { harmless: "the next open flushes and fences all it found first", search: power("close") },
};

/** Differences that must not be caught, or the reason given is wrong. */
export const harmless: Readonly<Record<HarmlessName, Mutant>> = {
  "tail-of-any-revision": {
    rule: "revisions",
    breaks: "a tail's revision is not compared: its place and the head there say whose it is",
    search: kill("run", "crash"),
  },
  "above-mark-ignored": {
    rule: "mark",
    breaks: "claims above the mark are not looked for: no crash leaves one",
    search: power("run", "write"),
  },
  "owner-numbers-reused": {
    rule: 8,
    breaks: "a deleted instance's number is given out again: operations have drained before",
    search: threads("power", "deleteStoreWrite", "deleteHanded", "deleteWrite"),
  },
  "only-metadata-adopted": {
    rule: "recovery",
    breaks: "opening does not flush data pages: they were persisted before they were claimed",
    search: power("store", "write", "crash"),
  },
  "older-slot-wins": {
    rule: 3,
    breaks: "of two complete slots the older counts: they differ only while a rewrite is under way",
    search: kill("store", "resize", "crash"),
  },
  "sequence-in-two-steps": {
    rule: 8,
    breaks: "two records may get one sequence: those of one name are never written at once",
    search: threads("kill", "storeStore", "storeSame", "deleteStoreWrite"),
  },
};
