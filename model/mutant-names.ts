/** Records that are rewritten as a whole; each has a fence after its first and after its second slot. */
export type RecordName =
  | "raise"
  | "create"
  | "publish"
  | "resize"
  | "delete.mark"
  | "delete.free"
  | "open.superblock"
  | "open.record"
  | "close";

/** Every fence of the operations. */
export type FenceName =
  | `${RecordName}.1`
  | `${RecordName}.2`
  | "write.content"
  | "write.claim"
  | "write.end"
  | "free.end"
  | "hand-over.content"
  | "hand-over.claim"
  | "hand-over.end"
  | "run.tails"
  | "run.head"
  | "run.end"
  | "run.tails-free"
  | "directory.content"
  | "raise.entries"
  | "publish.pages"
  | "delete.pages"
  | "resize.pages"
  | "close.everything"
  | "open.adopt"
  | "open.frees"
  | "open.tails"
  | "settle";

/** Planted faults that must be caught, each consulted where it would be made. */
export type FaultName =
  | "claim-before-fill"
  | "run-head-before-tails"
  | "created-live"
  | "directory-claim-before-fill"
  | "volatile-kept-unflushed"
  | "withdraw-before-claim"
  | "hand-over-withdraws-first"
  | "reuse-before-withdraw"
  | "reuse-before-fence"
  | "run-tails-withdrawn-first"
  | "tails-freed-with-heads"
  | "delete-record-before-pages"
  | "records-freed-before-pages"
  | "old-deleted-before-publish"
  | "delete-pages-before-mark"
  | "delete-without-mark"
  | "shrink-pages-before-size"
  | "shrink-leaves-pages"
  | "record-in-one-place"
  | "first-slot-first"
  | "slots-together"
  | "record-crc-ignored"
  | "not-healed"
  | "sequence-per-record"
  | "sequence-restarts"
  | "older-instance-wins"
  | "claim-in-two-stores"
  | "claim-byte-by-byte"
  | "hand-over-index-first"
  | "hand-over-claim-first"
  | "hand-over-byte-by-byte"
  | "reserve-late"
  | "trusts-writer-id"
  | "no-poison"
  | "no-name-lock"
  | "late-name-lock"
  | "unlock-before-table"
  | "unlock-before-withdraw"
  | "unlock-before-fence"
  | "hand-over-locks-source-only"
  | "stripes-as-they-come"
  | "no-drain"
  | "save-admits-writers"
  | "pending-unfenced-beside-threads"
  | "record-taken-late"
  | "no-superblock-lock"
  | "read-not-revalidated"
  | "read-trusts-page-table"
  | "page-table-cleared-first"
  | "hole-before-free"
  | "same-revision"
  | "hand-over-same-revision"
  | "highest-revision-wins"
  | "older-revision-wins"
  | "free-as-zero"
  | "mark-before-entries"
  | "chunk-used-before-mark"
  | "strict-above-mark"
  | "pending-kept"
  | "volatile-kept"
  | "beyond-size-kept"
  | "open-state-last"
  | "not-adopted"
  | "no-give-back"
  | "handed-to-uncommitted"
  | "limbo-not-settled"
  | "record-not-settled"
  | "volatile-freed-unflushed";

/** Planted differences that do no harm, for a reason that is known. */
export type HarmlessName =
  | "tail-of-any-revision"
  | "above-mark-ignored"
  | "owner-numbers-reused"
  | "only-metadata-adopted"
  | "older-slot-wins"
  | "sequence-in-two-steps";

/** A fence left out. */
export type MissingFence = `no-fence:${FenceName}`;

/** The mutants that are switched on: none in correct code. */
export type Mutants = ReadonlySet<FaultName | HarmlessName | MissingFence>;

export const noMutants: Mutants = new Set();
