import type { FenceName, HarmlessName, LayerFaultName } from "./mutant-names.ts";
import { type Fence, kill, limbo, type Mutant, power, type Search, threads } from "./searches.ts";

/** Planted faults of layers, of the order in which a tree of them changes, and of looking through them. */
export const layerFaults: Readonly<Record<LayerFaultName, Mutant>> = {
  "trim-withdraws-first": fault("a trim withdraws, then masks", kill("snapshot", "write", "free")),
  "trim-without-mask": fault("a trim of a layer sets no mask", kill("snapshot", "write", "free")),
  "hand-over-without-mask": fault(
    "a page handed out of a layer leaves no mask",
    kill("snapshot", "write", "hand-over"),
  ),
  "mask-ignored": fault("a partial write takes its other half from below a mask", kill("snapshot", "write", "free")),
  "reach-ignored": fault("a partial write looks below the reach", kill("snapshot", "write", "resize")),
  "reach-beyond-size": fault(
    "a smaller save reaches as far as what it stands on",
    kill("layer", "resize", "store", "publish"),
  ),
  "shrink-keeps-reach": fault("shrinking leaves the reach", kill("snapshot", "store", "resize")),
  "shrink-keeps-tables": fault("shrinking leaves TABLE pages above the reach", threads("kill", "resizeTables")),
  "bottom-keeps-tables": fault("a layer keeps its masks when nothing is below it", threads("kill", "mergeTables")),
  "hidden-merged": fault(
    "what several layers stand on is merged into one of them",
    kill("snapshot", "clone", "delete", "purge", "write"),
  ),
  "child-forgotten": fault("what a layer stands on ends like any other", kill("snapshot", "delete", "purge", "write")),
  "pending-is-no-child": fault("a pending save does not count as a child", kill("layer", "write", "publish", "store")),
  "replaced-parent-kept": fault(
    "what a save stands on is kept as a deleted instance",
    kill("layer", "publish", "store"),
  ),
  "successor-of-anyone": fault(
    "opening completes any pending record that some record names",
    kill("snapshot", "delete", "purge", "close", "create", "store"),
  ),
  "snapshot-name-first": fault("the disk gives up its name before the new top is there", kill("snapshot", "store")),
  "snapshot-without-successor": fault("a snapshot does not say who takes the name", kill("snapshot", "store")),
  "disk-renamed-early": race("readers find no disk until the new top is live", threads("kill", "snapshotRead")),
  "completed-before-healed": fault(
    "opening rewrites the record of a new top whose healed slot may still be lost",
    limbo("snapshot", "store"),
  ),
  "promote-deletes-first": fault("promote deletes what it replaces first", kill("snapshot", "promote", "store")),
  "merge-child-first": fault(
    "a merge gives the child its new parent first",
    kill("snapshot", "delete", "purge", "write"),
  ),
  "merge-frees-first": fault("a merge frees the record below first", kill("snapshot", "delete", "purge", "write")),
  "merge-masks-first": fault("a merge hands over masks before claims", threads("kill", "mergeReadMasked")),
  "merge-overwrites": fault(
    "a merge hands over what the child covers with a page",
    kill("snapshot", "delete", "purge", "write"),
  ),
  "merge-ignores-mask": fault(
    "a merge hands over what the child masks",
    kill("snapshot", "delete", "purge", "free", "store"),
  ),
  "merge-ignores-reach": fault(
    "a merge hands over what lies above the reach",
    kill("snapshot", "delete", "purge", "resize", "store"),
  ),
  "merge-without-masks": fault("a merge drops the masks below", kill("snapshot", "delete", "purge", "free", "store")),
  "merge-copies-masks": fault("a merge stores masks instead of adding them", threads("kill", "mergeTrimMasks")),
  "reach-not-merged": fault("a merge leaves the child its reach", threads("kill", "mergeReach")),
  "merge-without-name-locks": race(
    "a merge takes no name locks",
    threads("kill", "mergeWrite", "mergeHalf", "mergeTrim"),
  ),
  "merge-leaves-table-first": race(
    "a merge takes a page out of one page table before the other has it",
    threads("kill", "mergeRead"),
  ),
  "covered-left-early": race(
    "a merge takes a covered page out of the page table before its withdrawal is durable",
    threads("power", "mergeTables"),
  ),
  "mask-read-then-stored": race("a mask word is read, then stored", threads("kill", "trimTrim")),
  "mask-not-revalidated": race(
    "a mask counts though its TABLE page may be another by now",
    threads("kill", "mergeTrimReuse"),
  ),
  "masks-nothing": fault("a trim masks though nothing is below any more", threads("kill", "mergeTables")),
  "no-table-lock": race("TABLE names have no lock", threads("kill", "trimTable")),
  "tables-among-names": {
    rule: 8,
    breaks: "TABLE names share the stripes of other names",
    search: { by: "threads", crash: "kill", scenarios: ["trimStripes"], stripes: 3 },
  },
  "no-tree-lock": race("changes of a tree of layers go on side by side", threads("kill", "purgePurge")),
  "resize-outside-tree": race("a resize does not hold the lock of the tree", threads("kill", "mergeResize")),
  "snapshot-admits-writers": race("a snapshot does not drain the disk", threads("kill", "snapshotWrite")),
  "look-up-in-one-pass": race("layers are looked up once, from the top down", threads("kill", "mergeRead")),
  "look-up-in-two-passes": race("layers are looked up twice, from the top down", threads("kill", "mergeMergeHalf")),
  "claim-before-mask": race("in each layer the claim is looked up before the mask", threads("kill", "mergeReadMasked")),
  "read-with-old-reach": race("a reader does not see that the instance was resized", threads("kill", "readShrinkGrow")),
};

function fault(breaks: string, search: Search): Mutant {
  return { rule: "layers", breaks, search };
}

function race(breaks: string, search: Search): Mutant {
  return { rule: 8, breaks, search };
}

/** Fences of layers, removed alone. */
export const layerFences: Readonly<Record<LayerFenceName, Fence>> = {
  "table.content": { search: power("snapshot", "write", "free") },
  "trim.mask": { search: power("snapshot", "store", "free") },
  "merge.claims": { search: power("snapshot", "delete", "purge", "write", "free") },
  "merge.masks": { search: threads("power", "mergeTrimMasks") },
  "merge.tables": { search: threads("power", "mergeReuse") },
  "merge.child.1": { search: power("snapshot", "delete", "purge", "write") },
  "merge.child.2": {
    harmless: "the record below becomes free next, and the fence of its first slot covers it",
    search: power("snapshot", "delete", "purge", "write"),
  },
  "snapshot.top.1": { search: power("snapshot", "store") },
  "snapshot.top.2": {
    harmless: "the fence of the snapshot's first slot covers it",
    search: power("snapshot", "store"),
  },
  "snapshot.name.1": { search: power("snapshot", "store") },
  "snapshot.name.2": {
    harmless: "the fence of the live top's first slot covers it",
    search: power("snapshot", "store"),
  },
  "snapshot.live.1": { search: power("snapshot", "store") },
  "snapshot.live.2": { search: power("snapshot", "store", "resize") },
  "clone.1": { search: power("snapshot", "clone", "store") },
  "clone.2": { search: power("snapshot", "clone", "resize", "store") },
  "promote.1": { search: power("snapshot", "promote", "store") },
  "promote.2": { search: power("snapshot", "promote", "store") },
  "retire.1": { search: power("store", "delete") },
  "retire.2": { search: power("store", "purge", "undelete") },
  "undelete.1": { search: power("store", "delete", "undelete") },
  "undelete.2": { search: power("store", "delete", "undelete", "resize") },
  "purge.mark.1": { search: power("store", "delete", "purge") },
  "purge.mark.2": { search: power("store", "delete", "purge", "create") },
  "open.complete.1": { search: power("snapshot", "crash", "store") },
  "open.complete.2": { search: power("snapshot", "crash", "resize") },
  "open.retire.1": { search: power("store", "crash", "promote") },
  "open.retire.2": { search: power("store", "crash", "purge") },
};

export type LayerFenceName = Extract<
  FenceName,
  | "table.content"
  | "trim.mask"
  | `merge.${string}`
  | `snapshot.${string}`
  | `clone.${string}`
  | `promote.${string}`
  | `retire.${string}`
  | `undelete.${string}`
  | `purge.${string}`
  | `open.complete.${string}`
  | `open.retire.${string}`
>;

/** Differences of layers that must not be caught. */
export const layerHarmless: Readonly<Record<LayerHarmlessName, Mutant>> = {
  "successor-kept": {
    rule: "layers",
    breaks: "a stale successor stays in the record: nothing pending ever stands on a snapshot but its own top",
    search: kill("snapshot", "create", "layer", "delete", "purge", "crash"),
  },
  "parents-dropped-first": {
    rule: "layers",
    breaks: "opening frees the record below before the one above: nothing that is dropped stands on another",
    search: kill("layer", "publish", "snapshot", "purge", "crash"),
  },
  "snapshot-top-live": {
    rule: "layers",
    breaks: "the new top is live at once: until the disk's record says so, opening merges the disk into it",
    search: kill("snapshot", "write", "free"),
  },
  "no-record-lock": {
    rule: 8,
    breaks: "records have no lock of their own: drains and the lock of the tree keep two writers from one",
    search: threads("kill", "mergeResize", "snapshotSnapshot", "purgePurge"),
  },
};

export type LayerHarmlessName = Extract<
  HarmlessName,
  "successor-kept" | "parents-dropped-first" | "snapshot-top-live" | "no-record-lock"
>;
