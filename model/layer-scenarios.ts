import { cloning, creatingOver, promoting, purging, snapping, undeleting } from "./layer-operations.ts";
import { PENDING } from "./layout.ts";
import {
  at,
  deleting,
  freeing,
  handingPage,
  type Operation,
  publishing,
  reading,
  resizing,
  storing,
  writing,
} from "./operations.ts";
import type { Scenario } from "./scenarios.ts";

const one = at(1);
const pending = at(1, PENDING);
const size = 600;

const pages = (...indices: number[]): Map<number, number> => new Map(indices.map((index) => [index, 10 + index]));
/** Two disks, nothing layered. */
const flat: Operation[] = [storing(1, size, pages(0, 1, 255)), storing(2, size, pages())];
/** A disk over its snapshot. */
const bare: Operation[] = [...flat, snapping(1, 11)];
/** The disk has a page and a mask of its own. */
const layered: Operation[] = [...bare, writing(one, 1, 7), freeing(one, 255)];
/** The snapshot is deleted: a purge merges it into the disk. */
const doomed: Operation[] = [...layered, deleting(11)];
/** Three layers, the one in the middle with a page, with a mask, and with both at one index. */
const chain: Operation[] = [
  storing(1, size, pages(0, 1, 4)),
  snapping(1, 11),
  writing(one, 1, 7),
  freeing(one, 0),
  freeing(one, 4),
  writing(one, 4, 8),
  snapping(1, 12),
];
/** Four layers, of which only the lowest has anything to show. */
const tower: Operation[] = [
  storing(1, size, pages(0)),
  snapping(1, 11),
  snapping(1, 12),
  snapping(1, 13),
  deleting(11),
  deleting(12),
];
/** A merge withdraws a TABLE page, and no other page is free. */
const crowded: Operation[] = [
  storing(1, size, pages(0, 1, 2)),
  snapping(1, 11),
  freeing(one, 1),
  snapping(1, 12),
  freeing(one, 2),
  deleting(12),
  storing(3, size, new Map(Array.from({ length: 31 }, (_, k) => [k, k]))),
];
const below: Operation[] = [storing(1, size, pages(0, 512)), snapping(1, 11), freeing(one, 512)];
/** The layer in the middle was shrunk and has grown: the one above asks the lowest for less than its own reach. */
const regrown: Operation[] = [...bare, resizing(1, 200), resizing(1, size), snapping(1, 12), deleting(12)];
/** A pending save that stands on what it will replace. */
const saving: Operation[] = [...flat, creatingOver(1, size), writing(pending, 1, 7)];

/** Scenarios of two threads in a tree of layers. */
export const layerScenarios: Readonly<Record<string, Scenario>> = {
  snapshotWrite: {
    setup: flat,
    threads: [[snapping(1, 11), reading(at(11), 0), reading(at(11), 0)], [writing(one, 0, 101)]],
  },
  snapshotWriteRead: { setup: flat, threads: [[snapping(1, 11)], [writing(one, 0, 101), reading(at(11), 0)]] },
  snapshotTrim: { setup: flat, threads: [[snapping(1, 11), reading(at(11), 0)], [freeing(one, 0)]] },
  snapshotRead: { setup: flat, threads: [[snapping(1, 11)], [reading(one, 0), reading(one, 0)]] },
  snapshotSnapshot: { setup: flat, threads: [[snapping(1, 11)], [snapping(1, 12)]] },
  snapshotOther: { setup: flat, threads: [[snapping(1, 11)], [snapping(2, 12)]] },
  snapshotResize: { setup: flat, threads: [[snapping(1, 11)], [resizing(1, 200)]] },
  snapshotDelete: { setup: flat, threads: [[snapping(1, 11)], [deleting(1)]] },
  trimTrim: { setup: layered, threads: [[freeing(one, 0)], [freeing(one, 1)]] },
  trimTable: { setup: bare, threads: [[freeing(one, 0)], [freeing(one, 255)]] },
  trimStripes: { setup: bare, threads: [[freeing(one, 1)], [freeing(one, 255)]] },
  trimWrite: { setup: layered, threads: [[freeing(one, 0)], [writing(one, 0, 101)]] },
  trimHalf: { setup: layered, threads: [[freeing(one, 0)], [writing(one, 0, 101, "first")]] },
  trimOwn: { setup: layered, threads: [[freeing(one, 1)], [writing(one, 1, 101)]] },
  trimHanded: { setup: layered, threads: [[freeing(one, 1)], [handingPage(1, 2, 1)]] },
  halves: { setup: bare, threads: [[writing(one, 0, 101, "first")], [writing(one, 0, 102, "second")]] },
  mergeWrite: { setup: doomed, threads: [[purging()], [writing(one, 0, 101)]] },
  mergeHalf: { setup: doomed, threads: [[purging()], [writing(one, 0, 101, "first")]] },
  mergeTrim: { setup: doomed, threads: [[purging()], [freeing(one, 0)]] },
  mergeTrimWrite: { setup: doomed, threads: [[purging()], [freeing(one, 0), writing(one, 0, 102)]] },
  mergeHanded: { setup: doomed, threads: [[purging()], [handingPage(1, 2, 1)]] },
  mergeRead: { setup: doomed, threads: [[purging()], [reading(one, 0)]] },
  mergeTables: { setup: doomed, threads: [[purging()], [freeing(one, 1)]] },
  mergeReadChain: { setup: [...chain, deleting(12)], threads: [[purging()], [reading(one, 1), reading(one, 0)]] },
  mergeReadBottom: { setup: [...chain, deleting(11)], threads: [[purging()], [reading(one, 1), reading(one, 0)]] },
  mergeReadMasked: { setup: [...chain, deleting(12)], threads: [[purging()], [reading(one, 4)]] },
  mergeHalfMasked: { setup: [...chain, deleting(12)], threads: [[purging()], [writing(one, 0, 101, "first")]] },
  mergeTrimMasks: {
    setup: [...chain, freeing(one, 1), deleting(12)],
    threads: [[purging()], [freeing(one, 4)]],
  },
  mergeMergeRead: {
    setup: tower,
    threads: [[reading(one, 0)], [purging(), purging()]],
    otherInOnePiece: true,
  },
  mergeMergeHalf: {
    setup: tower,
    threads: [[writing(one, 0, 101, "first")], [purging(), purging()]],
    otherInOnePiece: true,
  },
  mergeMergeTrim: {
    setup: tower,
    threads: [[freeing(one, 0)], [purging(), purging()]],
    otherInOnePiece: true,
  },
  mergeTrimReuse: {
    setup: crowded,
    threads: [[freeing(one, 0)], [purging(), writing(one, 5, 101)]],
    otherInOnePiece: true,
  },
  mergeReuse: { setup: crowded, threads: [[purging()], [writing(one, 5, 101)]], otherInOnePiece: true },
  mergeReach: { setup: regrown, threads: [[purging()], [reading(one, 255)]] },
  mergeSnapshot: { setup: doomed, threads: [[purging()], [snapping(1, 12)]] },
  mergeDelete: { setup: doomed, threads: [[purging()], [deleting(1)]] },
  mergeResize: { setup: [...bare, deleting(11)], threads: [[purging()], [resizing(1, 200)]] },
  mergeResizeGrow: { setup: [...bare, deleting(11)], threads: [[purging()], [resizing(1, 200), resizing(1, size)]] },
  mergeClone: { setup: layered, threads: [[deleting(11), purging()], [cloning(11, 21)]] },
  mergePromote: { setup: layered, threads: [[deleting(11), purging()], [promoting(11, 1)]] },
  purgePurge: { setup: [...chain, deleting(11), deleting(12)], threads: [[purging()], [purging()]] },
  purgeUndelete: { setup: doomed, threads: [[purging()], [undeleting(11)]] },
  purgeHidden: {
    setup: [...layered, cloning(11, 21), deleting(11), purging(), deleting(21)],
    threads: [[purging()], [writing(one, 0, 101, "first")]],
  },
  cloneClone: { setup: layered, threads: [[cloning(11, 21)], [cloning(11, 22)]] },
  cloneDelete: { setup: layered, threads: [[cloning(11, 21)], [deleting(11)]] },
  promoteWrite: { setup: layered, threads: [[promoting(11, 1)], [writing(one, 0, 101)]] },
  promoteRead: { setup: layered, threads: [[promoting(11, 1)], [reading(one, 1), reading(one, 1)]] },
  promoteClone: { setup: [...layered, cloning(11, 21)], threads: [[promoting(21, 1)], [writing(at(21), 0, 101)]] },
  resizeTables: { setup: below, threads: [[resizing(1, 300)], [writing(one, 0, 101)]] },
  readShrinkGrow: { setup: below, threads: [[resizing(1, 300), resizing(1, size)], [reading(one, 512)]] },
  saveOver: { setup: flat, threads: [[creatingOver(1, size)], [writing(one, 0, 101)]], transient: true },
  saveOverSame: { setup: flat, threads: [[creatingOver(1, size)], [creatingOver(1, size)]], transient: true },
  saveOverDelete: { setup: flat, threads: [[creatingOver(1, size)], [deleting(1)]], transient: true },
  saveOverPublish: { setup: saving, threads: [[publishing(1)], [writing(one, 0, 101)]], transient: true },
  saveOverTrim: { setup: saving, threads: [[publishing(1)], [freeing(pending, 0)]], transient: true },
  saveOverRead: { setup: saving, threads: [[publishing(1)], [reading(one, 0), reading(one, 1)]] },
  saveOverSnapshot: { setup: saving, threads: [[publishing(1)], [snapping(1, 11)]] },
  saveOverStore: { setup: saving, threads: [[publishing(1)], [storing(1, size, pages(0))]] },
};
