import { createIn, newOwner, pagesOf, storeRecord, takeRecord, writeRecord } from "./directory.ts";
import { finish, retire } from "./finish.ts";
import { inTree } from "./instances.ts";
import { DATA, DELETED, DELETING, LIVE, PENDING, TABLE } from "./layout.ts";
import { type Result, refusal } from "./page-operations.ts";
import { type Entry, freeEntry } from "./record.ts";
import type { Region } from "./region.ts";
import type { Task } from "./tasks.ts";
import type { Writer } from "./writer.ts";

/**
 * Makes a disk a snapshot and goes on writing in a new top layer of the disk's name. The record of the snapshot commits
 * it: the disk's old record takes the snapshot's name and says who has taken the disk's.
 */
export function* snapshot(writer: Writer, disk: number, name: number): Task<Result> {
  const { region } = writer;
  const { mutants } = region;
  return yield* inTree(writer, mutants.has("snapshot-admits-writers") ? [name] : [disk, name], function* () {
    const p = region.find(disk);
    const refused = refusal(region, region.directory[p]) ?? notALayer(region, region.directory[p]);
    if (refused !== undefined) return refused;
    if (region.find(name) >= 0) return "EEXIST";
    writer.settle();
    const t = yield* takeRecord(writer);
    if (t < 0) return "ENOSPC";
    const { owner: parent, size } = region.directory[p];
    const owner = newOwner(region);
    const state = mutants.has("snapshot-top-live") ? LIVE : PENDING;
    const top = { ...freeEntry, state, owner, name: disk, size, parent, reach: size };
    if (!mutants.has("snapshot-name-first")) yield* writeRecord(writer, t, top, "snapshot.top");
    const successor = mutants.has("snapshot-without-successor") ? 0 : owner;
    const below = yield* storeRecord(writer, p, { name, readOnly: true, successor }, "snapshot.name");
    if (mutants.has("disk-renamed-early")) region.directory[p] = below;
    const above = yield* storeRecord(writer, t, { ...top, state: LIVE }, "snapshot.live");
    // In one step: a reader finds the disk at every moment.
    region.directory[p] = below;
    region.directory[t] = above;
    return "done";
  });
}

/** A writable layer over a snapshot: one record. */
export function* clone(writer: Writer, from: number, to: number): Task<Result> {
  return yield* inTree(writer, [to], function* () {
    const { region } = writer;
    const s = region.find(from);
    if (s < 0) return "ENOENT";
    if (!region.directory[s].readOnly) return "EINVAL";
    if (region.find(to) >= 0) return "EEXIST";
    const d = yield* takeRecord(writer);
    if (d < 0) return "ENOSPC";
    yield* writeRecord(writer, d, topOf(region, region.directory[s], to), "clone");
    return "done";
  });
}

/** Lets a name mean what a snapshot or a clone holds: one record. What had the name before is deleted. */
export function* promote(writer: Writer, from: number, to: number): Task<Result> {
  return yield* inTree(writer, [from, to], function* () {
    const { region } = writer;
    const { mutants } = region;
    let d = region.find(from);
    if (d < 0) return "ENOENT";
    if (from === to) return "EINVAL";
    const old = region.find(to);
    const refused = refusal(region, region.directory[d]);
    const target = old < 0 ? undefined : refusal(region, region.directory[old]);
    if (refused === "EBUSY" || target === "EBUSY") return "EBUSY";
    writer.settle();
    let change: Partial<Entry> = { name: to };
    if (region.directory[d].readOnly) {
      const below = region.directory[d];
      d = yield* takeRecord(writer);
      if (d < 0) return "ENOSPC";
      change = topOf(region, below, to);
    }
    const newer = { ...region.directory[d], ...change };
    if (old >= 0 && mutants.has("promote-deletes-first")) yield* retire(writer, old, newer);
    yield* writeRecord(writer, d, change, "promote");
    if (old >= 0 && !mutants.has("promote-deletes-first")) yield* retire(writer, old, newer);
    return "done";
  });
}

/** Begins a save that keeps what it does not change: a pending layer over the live instance of the name. */
export function* createOver(writer: Writer, name: number, size: number): Task<Result> {
  return yield* inTree(writer, [name], function* () {
    const { region } = writer;
    const p = region.find(name);
    if (region.find(name, PENDING) >= 0) return "EEXIST";
    const refused = refusal(region, region.directory[p]) ?? notALayer(region, region.directory[p]);
    if (refused !== undefined) return refused;
    writer.settle();
    const d = yield* takeRecord(writer);
    if (d < 0) return "ENOSPC";
    const { owner: parent, size: limit } = region.directory[p];
    const reach = region.mutants.has("reach-beyond-size") ? limit : Math.min(size, limit);
    yield* createIn(writer, d, { name, size, parent, reach });
    return "done";
  });
}

/** Has the last deleted instance of a name back. */
export function* undelete(writer: Writer, name: number): Task<Result> {
  return yield* inTree(writer, [name], function* () {
    const { region } = writer;
    const last = deletedOnes(region).findLast((d) => region.directory[d].name === name);
    if (last === undefined) return "ENOENT";
    if (region.find(name) >= 0) return "EEXIST";
    yield* writeRecord(writer, last, { state: LIVE, deletedAt: 0 }, "undelete");
    return "done";
  });
}

/** Ends the instance that was deleted first, for its pages. */
export function* purge(writer: Writer): Task<Result> {
  return yield* inTree(writer, [], function* () {
    const { region } = writer;
    const [oldest] = deletedOnes(region);
    if (oldest === undefined) return "ENOENT";
    writer.settle();
    yield* writeRecord(writer, oldest, { state: DELETING, deletedAt: 0 }, "purge.mark");
    yield* finish(writer, oldest);
    return "done";
  });
}

/** Directory indices of deleted instances, the first deleted first. */
function deletedOnes(region: Region): number[] {
  const all = [...region.directory.keys()].filter((d) => region.directory[d].state === DELETED);
  return all.sort((a, b) => region.directory[a].deletedAt - region.directory[b].deletedAt);
}

/** A live layer that shows all of a snapshot. */
function topOf(region: Region, below: Entry, name: number): Partial<Entry> {
  const { owner: parent, size } = below;
  return { ...freeEntry, state: LIVE, owner: newOwner(region), name, size, parent, reach: size };
}

/** Layers hold persistent pages only, one by one. */
function notALayer(region: Region, entry: Entry): Result | undefined {
  const kinds = pagesOf(region, entry.owner).map(({ kind }) => kind);
  return kinds.every((kind) => kind === DATA || kind === TABLE) ? undefined : "EINVAL";
}
