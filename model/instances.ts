import {
  createIn,
  freeRecord,
  giveTo,
  growDirectory,
  pagesOf,
  reserveRecord,
  takeOutPages,
  takeRecord,
  writeRecord,
} from "./directory.ts";
import { publishRecord } from "./finish.ts";
import { DATA, DELETED, firstPage, frameAt, HEAD, indexLimit, PENDING, tailsOf, VOLATILE } from "./layout.ts";
import { type Result, refusal } from "./page-operations.ts";
import { claim, fillPage, nextRevision, takePage, withdrawAll, writeSuperblock } from "./pages.ts";
import type { Task } from "./tasks.ts";
import type { Writer } from "./writer.ts";

/** Rule 8: runs `body` when the operations inside the instances have drained, and keeps others out meanwhile. */
export function* alone(writer: Writer, names: readonly number[], body: () => Task<Result>): Task<Result> {
  if (writer.region.poisoned) return "EPOISONED";
  yield* writer.drain(names);
  const result = yield* body();
  writer.admit(names);
  return result;
}

/** Rule 8: what changes, or must not see change, which layer stands on which holds the one lock of the tree as well. */
export function* inTree(writer: Writer, names: readonly number[], body: () => Task<Result>): Task<Result> {
  return yield* alone(writer, names, function* () {
    yield* writer.lockTree();
    yield;
    const result = yield* body();
    writer.unlockTree();
    return result;
  });
}

/** Makes a pending instance: pages may be allocated in it, and opening drops it. */
export function* create(writer: Writer, name: number, size: number): Task<Result> {
  return yield* alone(writer, [name], function* () {
    if (writer.region.find(name, PENDING) >= 0) return "EEXIST";
    const d = yield* takeRecord(writer);
    if (d < 0) return "ENOSPC";
    yield* createIn(writer, d, { name, size });
    return "done";
  });
}

/** Commits a pending instance. A live one of the same name is replaced by it, then deleted. */
export function* publish(writer: Writer, name: number): Task<Result> {
  return yield* inTree(writer, [name], function* () {
    const d = writer.region.find(name, PENDING);
    if (d < 0) return "ENOENT";
    yield* publishRecord(writer, d);
    return "done";
  });
}

/** Deletes an instance: its record says so, and its pages stay until they are needed. */
export function* remove(writer: Writer, name: number): Task<Result> {
  return yield* inTree(writer, [name], function* () {
    const { region } = writer;
    const { mutants } = region;
    const d = region.find(name);
    const refused = refusal(region, region.directory[d]);
    // A snapshot may go whatever stands on it: it only loses its name.
    if (refused !== undefined && refused !== "EROFS") return refused;
    const { owner } = region.directory[d];
    writer.settle();
    const withdrawPages = (): Task<void> => {
      return withdrawAll(writer, takeOutPages(region, owner, 0, 0), "delete.pages");
    };
    if (mutants.has("delete-pages-before-mark")) yield* withdrawPages();
    if (mutants.has("delete-without-mark")) {
      yield* freeRecord(writer, d, "delete.free");
      yield* withdrawPages();
    } else {
      yield* writeRecord(writer, d, { state: DELETED }, "delete.mark");
    }
    return "done";
  });
}

/** Changes the size. To shrink is size first, then the pages, which are gone for good before a later growth. */
export function* resize(writer: Writer, name: number, size: number): Task<Result> {
  const within = writer.region.mutants.has("resize-outside-tree") ? alone : inTree;
  return yield* within(writer, [name], function* () {
    const { region } = writer;
    const { mutants } = region;
    const d = region.find(name);
    const refused = refusal(region, region.directory[d]);
    if (refused !== undefined) return refused;
    const { owner } = region.directory[d];
    // What stood beyond the size must not come back from below.
    const reach = mutants.has("shrink-keeps-reach")
      ? region.directory[d].reach
      : Math.min(region.directory[d].reach, size);
    const takeOut = (): number[] => {
      return takeOutPages(region, owner, size, mutants.has("shrink-keeps-tables") ? indexLimit : reach);
    };
    const withdrawPages = (pages: number[]): Task<void> => withdrawAll(writer, pages, "resize.pages");
    writer.settle();
    if (mutants.has("shrink-pages-before-size")) yield* withdrawPages(takeOut());
    const early = mutants.has("page-table-cleared-first") ? takeOut() : [];
    yield* writeRecord(writer, d, { size, reach }, "resize");
    // A reader takes a name without a page for a hole, so names leave the page table when the record says so.
    if (mutants.has("shrink-leaves-pages")) takeOut();
    else yield* withdrawPages([...early, ...takeOut()]);
    return "done";
  });
}

/** Saves pages in one piece: a pending instance, its pages, then publish. Rule 5: everything is taken first. */
export function* store(writer: Writer, name: number, size: number, values: ReadonlyMap<number, number>): Task<Result> {
  return yield* inTree(writer, [name], function* () {
    const { region } = writer;
    if (region.find(name, PENDING) >= 0) return "EEXIST";
    const late = region.mutants.has("reserve-late");
    yield;
    const d = reserveRecord(region);
    if (d < 0) return "ENOSPC";
    const grows = region.directory[d].page < 0;
    const pages = yield* takePages(writer, (late ? 0 : values.size) + (grows ? 1 : 0));
    if (pages === undefined) {
      region.takenRecords.delete(d);
      return "ENOSPC";
    }
    if (grows) yield* growDirectory(writer, d, pages.pop() as number);
    yield* createIn(writer, d, { name, size });
    for (const [index, value] of values) {
      const page = late ? yield* takePage(writer) : (pages.pop() as number);
      if (page < 0) return "ENOSPC";
      const own = { owner: region.directory[d].owner, kind: DATA, index };
      fillPage(writer, page, [value, value]);
      yield* claim(writer, page, own, nextRevision(writer, page, undefined));
      region.setPage(own, page);
    }
    yield* publishRecord(writer, d);
    return "done";
  });
}

/**
 * Saves an instance without copying: its pages are handed to a pending one that names its source, so that opening can
 * give them back until the save commits. The index of a page stays, so one 32-bit store hands it over.
 */
export function* save(writer: Writer, from: number, to: number): Task<Result> {
  // The source stays closed to others until the commit: what they wrote there would meet a page that is given back.
  const drained = writer.region.mutants.has("save-admits-writers") ? [to] : [from, to];
  return yield* inTree(writer, drained, function* () {
    const { region } = writer;
    const source = region.find(from);
    const refused = refusal(region, region.directory[source]);
    if (refused !== undefined) return refused;
    const { owner, size, parent } = region.directory[source];
    // A layer does not own all that it shows.
    if (from === to || parent !== 0) return "EINVAL";
    if (region.find(to, PENDING) >= 0) return "EEXIST";
    writer.settle();
    const d = yield* takeRecord(writer);
    if (d < 0) return "ENOSPC";
    yield* createIn(writer, d, { name: to, size, source: owner });
    const newOwner = region.directory[d].owner;
    const handed = pagesOf(region, owner).filter(({ kind }) => kind !== VOLATILE);
    for (const { kind, page } of handed) {
      for (const part of kind === HEAD ? [page, ...tailsOf(page)] : [page]) {
        yield;
        giveTo(writer, part, newOwner);
      }
    }
    // Readers find the pages in the source until the save commits; their claims tell them to wait.
    yield* publishRecord(writer, d, () => {
      for (const { kind, index, page } of handed) {
        region.clearPage({ owner, kind, index });
        region.setPage({ owner: newOwner, kind, index }, page);
      }
    });
    return "done";
  });
}

/** Ends the writer's life in order: everything durable, then the state and the sum of the frame table. */
export function* close(writer: Writer): Task<Result> {
  if (writer.region.poisoned) return "EPOISONED";
  writer.memory.flushAll();
  writer.fence("close.everything");
  yield* writeSuperblock(writer, "close", { closedSum: tableSum(writer.memory.words, writer.region.mark) });
  return "done";
}

/** A sum over the frame table below the mark, kept at close and verified by the next open. */
export function tableSum(words: Uint32Array, mark: number): number {
  let sum = 0x811c9dc5;
  for (let at = frameAt(firstPage); at < frameAt(mark); at++) {
    sum = Math.imul(sum ^ words[at], 0x01000193);
    sum ^= sum >>> 15;
  }
  return sum >>> 0;
}

/** Takes so many pages, or none. */
function* takePages(writer: Writer, count: number): Task<number[] | undefined> {
  const { region } = writer;
  writer.settle();
  if (!region.hasRoom(count)) return undefined;
  const pages: number[] = [];
  while (pages.length < count) {
    const page = yield* takePage(writer);
    if (page < 0) {
      region.free.push(...pages);
      return undefined;
    }
    pages.push(page);
  }
  return pages;
}
