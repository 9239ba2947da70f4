/** Two threads on one tree of layers: the hazards of reference lists, in the words of `interleavings.ts`. */
import type { Scenario } from "./interleavings.ts";
import {
  changeOver,
  clone,
  createOver,
  discard,
  promote,
  publishOver,
  rename,
  snapshot,
  undelete,
} from "./layer-operations.ts";
import { create, diskTrim, ensure, free, handOver, remove, resize, write } from "./operations.ts";

/** "ann" and "cid" stand on the snapshot "old"; index 1 is trimmed in "ann", index 2 in "cid". */
const tree = [
  create("ann", 300),
  ...[0, 1, 2, 255].map((index) => write("ann", index, "both", 1 + index)),
  snapshot("ann", "old"),
  clone("old", "cid"),
  free("ann", 1),
  write("ann", 2, "both", 11),
  free("cid", 2),
];
/** "ann" stands on the snapshot "old" alone: when that is purged the two merge. */
const pair = [
  create("ann", 300),
  create("bob", 300),
  ...[0, 1, 2, 255].map((index) => write("ann", index, "both", 1 + index)),
  snapshot("ann", "old"),
  free("ann", 1),
  write("ann", 2, "both", 11),
];
/** "ann" stands on "mid", and that on "old". */
const chain = [...pair, snapshot("ann", "mid"), write("ann", 0, 0, 21)];
/** "old" has masks over "low", one of them under a page; "mid" has none: the page of masks is handed to it. */
const chainOfMasks = [
  create("ann", 300),
  ...[0, 1, 2].map((index) => write("ann", index, "both", 1 + index)),
  snapshot("ann", "low"),
  free("ann", 0),
  write("ann", 0, "both", 7),
  free("ann", 2),
  snapshot("ann", "old"),
  write("ann", 1, "both", 9),
  snapshot("ann", "mid"),
];
/** "mid" has a mask of its own over "old", and "ann" one over both: the two are joined. */
const twoMasks = [...pair, snapshot("ann", "mid"), free("ann", 0)];
/** "mid" was smaller once than "old" is. */
const shrunk = [...pair, resize("ann", 1), resize("ann", 300), snapshot("ann", "mid"), write("ann", 4, "both", 41)];

const w = write("ann", 0, 0, 101);

export const layerScenarios: Readonly<Record<string, Scenario>> = {
  "snapshot against a write": { setup: tree, a: snapshot("ann", "new"), b: w },
  "a write against a snapshot": { setup: tree, a: w, b: snapshot("ann", "new") },
  "snapshot against a trim": { setup: tree, a: snapshot("ann", "new"), b: free("ann", 0) },
  "a trim against a snapshot": { setup: tree, a: free("ann", 0), b: snapshot("ann", "new") },
  "snapshot against a resize": { setup: tree, a: snapshot("ann", "new"), b: resize("ann", 1) },
  "a resize against a snapshot": { setup: tree, a: resize("ann", 1), b: snapshot("ann", "new") },
  "snapshot against a delete": { setup: tree, a: snapshot("ann", "new"), b: discard("ann") },
  "snapshot against a rename": { setup: tree, a: snapshot("ann", "new"), b: rename("ann", "dan") },
  "snapshot against a create of its name": { setup: tree, a: snapshot("ann", "new"), b: create("new", 300) },
  "two snapshots of one name": { setup: tree, a: snapshot("ann", "new"), b: snapshot("cid", "new") },
  "snapshot against a write of a clone": { setup: tree, a: snapshot("ann", "new"), b: write("cid", 0, 1, 101) },
  "a purge of the snapshot against a clone": { setup: pair, a: remove("old"), b: clone("old", "dan") },
  "clone against a rename of the snapshot": { setup: tree, a: clone("old", "dan"), b: rename("old", "eve") },
  "two writes of one shared page": { setup: tree, a: w, b: write("ann", 0, 1, 102) },
  "a write of a shared page against ensure": { setup: tree, a: w, b: ensure("ann", 0), oneWay: true },
  "two trims in one word of a mask": { setup: tree, a: free("ann", 0), b: free("ann", 255) },
  "two first trims of a layer": { setup: [...tree, snapshot("cid", "new")], a: free("cid", 0), b: free("cid", 255) },
  "a trim against a write": { setup: tree, a: free("ann", 2), b: write("ann", 2, 0, 101) },
  "a write against a trim": { setup: tree, a: write("ann", 2, 0, 101), b: free("ann", 2) },
  "trims of two layers over one page": { setup: tree, a: free("ann", 0), b: free("cid", 0) },
  "a shrink of a layer against a trim": { setup: tree, a: resize("ann", 1), b: free("ann", 0) },
  "a shrink of a layer against a write": { setup: tree, a: resize("ann", 1), b: write("ann", 2, 0, 101) },
  "a hand-over of a layer's page against a write": {
    setup: tree,
    a: handOver("ann", 2, "cid", 7),
    b: write("ann", 2, 0, 101),
  },
  "promotion of a snapshot against a write": { setup: tree, a: promote("old", "ann"), b: w },
  "a write against a promotion": { setup: tree, a: w, b: promote("old", "ann") },
  "promotion of a clone against a write of it": { setup: tree, a: promote("cid", "ann"), b: write("cid", 0, 0, 101) },
  "promotion of a clone against a trim of what it replaces": {
    setup: tree,
    a: promote("cid", "ann"),
    b: free("ann", 0),
  },
  "promotion against a snapshot": { setup: tree, a: promote("cid", "ann"), b: snapshot("ann", "new") },
  "promotion against a delete": { setup: tree, a: promote("cid", "ann"), b: discard("cid") },
  "promotions in both directions": { setup: tree, a: promote("cid", "ann"), b: promote("ann", "cid") },
  "delete against undelete": { setup: [...tree, discard("cid")], a: discard("ann"), b: undelete("cid", "dan") },
  "undelete against a create of its name": {
    setup: [...tree, discard("cid")],
    a: undelete("cid", "cid"),
    b: create("cid", 300),
  },
  "a merge against a write of its child": { setup: pair, a: remove("old"), b: w, oneWay: true },
  "a merge against a trim of its child": { setup: pair, a: remove("old"), b: free("ann", 0), oneWay: true },
  "a merge against a resize of its child": { setup: pair, a: remove("old"), b: resize("ann", 1), oneWay: true },
  "a merge against a delete of its child": { setup: pair, a: remove("old"), b: discard("ann"), oneWay: true },
  "a merge against the end of its child": { setup: pair, a: remove("old"), b: remove("ann") },
  "a merge against a snapshot of its child": { setup: pair, a: remove("old"), b: snapshot("ann", "new"), oneWay: true },
  "a merge into a layer against a write of the one above": { setup: chain, a: remove("old"), b: w },
  "a write against a merge two layers below": { setup: chain, a: write("ann", 2, 0, 101), b: remove("old") },
  "a merge into a layer against a trim of the one above": { setup: chain, a: remove("old"), b: free("ann", 2) },
  "merges of neighbours in a chain": { setup: chain, a: remove("old"), b: remove("mid") },
  "a merge that hands a mask over against a write above": {
    setup: chainOfMasks,
    a: remove("old"),
    b: write("ann", 0, 1, 101),
  },
  "a merge that joins two masks against a trim": { setup: twoMasks, a: remove("mid"), b: free("ann", 2), oneWay: true },
  "a merge of what was smaller once against a write": { setup: shrunk, a: remove("mid"), b: w, oneWay: true },
  "a merge into what was smaller once": {
    setup: [...pair, resize("ann", 1), resize("ann", 300)],
    a: remove("old"),
    b: w,
    oneWay: true,
  },
  "a purge against a purge of what is below": { setup: chain, a: remove("ann"), b: remove("mid") },
  "the end of a save while the layer below it is purged": {
    setup: [...tree, createOver("cid"), changeOver("cid", 0, 31), remove("ann")],
    a: remove("old"),
    b: create("dan", 300),
  },
  "a merge beside a disk that is trimmed": { setup: chain, a: remove("old"), b: diskTrim("ann", 0, 3), series: true },
  "the last but one of several layers against a write of the last": { setup: tree, a: remove("old"), b: w },
  "a hidden layer that merges against a write": {
    setup: [...tree, remove("old")],
    a: remove("cid"),
    b: w,
    oneWay: true,
  },
  "a save over an instance against a write of it": { setup: pair, a: createOver("ann"), b: w },
  "a save that is published against a clone of what is below": {
    setup: [...pair, createOver("ann"), changeOver("ann", 0, 31)],
    a: publishOver("ann"),
    b: clone("old", "dan"),
  },
  "a pending save against the end of another layer below it": {
    setup: [...tree, createOver("cid"), changeOver("cid", 0, 31)],
    a: changeOver("cid", 0, undefined),
    b: remove("ann"),
  },
};
