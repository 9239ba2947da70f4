/** The pairs of operations that two stepped threads run: those of `interleavings.ts`, and more on one name. */
import { type Scenario, scenarios } from "./interleavings.ts";
import { changeOver, createOver, discard, promote, publishOver, rename, snapshot } from "./layer-operations.ts";
import {
  create,
  createPending,
  free,
  handOver,
  inOrder,
  read,
  remove,
  resize,
  savePage,
  setLimit,
  write,
} from "./operations.ts";

/** What a refused operation answers, before the code of the error. */
export const REFUSED = "refused ";

/** Those that are another one the other way round, since a schedule begins with either thread; or that say why. */
const leftOut: readonly string[] = [
  "free against write",
  "write against delete",
  "write against shrink",
  "a write against a snapshot",
  "a trim against a snapshot",
  "a resize against a snapshot",
  "a write against a trim",
  "a write against a promotion",
  // The page is held for a moment, and then a write of it is refused: the model knows no handles.
  "a write of a shared page against ensure",
];

const disk = [create("ann", 300), create("bob", 300), write("ann", 0, "both", 1), write("ann", 255, "both", 2)];
/** "ann" stands on the snapshot "mid", and that on "old"; index 1 is trimmed. */
const chain = [...disk, write("ann", 1, "both", 3), snapshot("ann", "old"), free("ann", 1), snapshot("ann", "mid")];
const w = write("ann", 0, 0, 101);

const more: Readonly<Record<string, Scenario>> = {
  "two writes that are the first of their chunk": {
    setup: disk,
    a: write("ann", 130, "both", 101),
    b: write("ann", 131, "both", 102),
  },
  "two trims of one page": { setup: disk, a: free("ann", 0), b: free("ann", 0) },
  "a growth against a write beyond the old size": {
    setup: [...disk, resize("ann", 256)],
    a: resize("ann", 300),
    b: write("ann", 257, "both", 101),
  },
  "a growth against a shrink": { setup: disk, a: resize("ann", 301), b: resize("ann", 1) },
  "a rename against a write": { setup: disk, a: rename("ann", "dan"), b: w },
  "a rename against a delete": { setup: disk, a: rename("ann", "dan"), b: discard("ann") },
  "a rename against a create of the new name": { setup: disk, a: rename("ann", "dan"), b: create("dan", 300) },
  "two renames to one name": { setup: disk, a: rename("ann", "dan"), b: rename("bob", "dan") },
  "a delete against a create of its name": { setup: disk, a: discard("ann"), b: create("ann", 200) },
  "two deletes": { setup: disk, a: discard("ann"), b: remove("ann") },
  "a quota against a write": { setup: disk, a: setLimit("ann", 2), b: write("ann", 3, "both", 101) },
  "a quota that two writes come to": {
    setup: [...disk, setLimit("ann", 3)],
    a: write("ann", 3, "both", 101),
    b: write("ann", 3, "both", 102),
  },
  "a save that begins and takes a page against a write of it": {
    setup: disk,
    a: inOrder(createPending("cid", 300, "ann"), savePage("ann", "cid", 0)),
    b: w,
  },
  "a save over an instance, with a page, against a write of it": {
    setup: disk,
    a: inOrder(createOver("ann"), changeOver("ann", 0, 31)),
    b: w,
  },
  "two snapshots in a row against two writes": {
    setup: disk,
    a: inOrder(snapshot("ann", "new"), snapshot("ann", "newer")),
    b: inOrder(w, write("ann", 1, "both", 102)),
  },
  "a read against a write": { setup: disk, a: read("ann", 0), b: w },
  "a read against a trim": { setup: disk, a: read("ann", 0), b: free("ann", 0) },
  "a read against a hand-over": { setup: disk, a: read("ann", 0), b: handOver("ann", 0, "bob", 0) },
  "a read against a snapshot and a write": { setup: disk, a: read("ann", 0), b: inOrder(snapshot("ann", "new"), w) },
  "a read through layers against a merge": { setup: chain, a: read("ann", 0), b: remove("mid") },
  "a read of what is masked against a merge": { setup: chain, a: read("ann", 1), b: remove("mid") },
  "a read against a merge below and a write": { setup: chain, a: read("ann", 0), b: inOrder(remove("old"), w) },
  "a read against a promotion": { setup: chain, a: read("ann", 1), b: promote("old", "ann") },
  "a read against a save that is published": {
    setup: [...chain, createOver("ann"), changeOver("ann", 0, 31)],
    a: read("ann", 0),
    b: publishOver("ann"),
  },
};

const chosen = Object.entries(scenarios).filter(([name]) => !leftOut.includes(name));
/** By name. */
export const steppedScenarios: Readonly<Record<string, Scenario>> = { ...Object.fromEntries(chosen), ...more };
