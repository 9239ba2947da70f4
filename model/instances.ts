import {
  createIn,
  giveTo,
  growDirectory,
  pagesOf,
  publishRecord,
  reap,
  reserveRecord,
  takeOutPages,
  takeRecord,
  writeRecord,
} from "./directory.ts";
import { DATA, firstPage, frameAt, HEAD, PENDING, tailsOf, VOLATILE } from "./layout.ts";
import type { Result } from "./page-operations.ts";
import { claim, fillPage, nextRevision, takePage, withdrawAll, writeSuperblock } from "./pages.ts";
import type { Task } from "./tasks.ts";
import type { Writer } from "./writer.ts";

/** Rule 8: runs `body` when the operations inside the instances have drained, and keeps others out meanwhile. */
function* alone(writer: Writer, names: readonly number[], body: () => Task<Result>): Task<Result> {
  if (writer.region.poisoned) return "EPOISONED";
  yield* writer.drain(names);
  const result = yield* body();
  writer.admit(names);
  return result;
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
  return yield* alone(writer, [name], function* () {
    const d = writer.region.find(name, PENDING);
    if (d < 0) return "ENOENT";
    yield* publishRecord(writer, d);
    return "done";
  });
}

export function* remove(writer: Writer, name: number): Task<Result> {
  return yield* alone(writer, [name], function* () {
    const d = writer.region.find(name);
    if (d < 0) return "ENOENT";
    yield* reap(writer, d);
    return "done";
  });
}

/** Changes the size. To shrink is size first, then the pages, which are gone for good before a later growth. */
export function* resize(writer: Writer, name: number, size: number): Task<Result> {
  return yield* alone(writer, [name], function* () {
    const { region } = writer;
    const { mutants } = region;
    const d = region.find(name);
    if (d < 0) return "ENOENT";
    const { owner } = region.directory[d];
    const withdrawPages = (): Task<void> => withdrawAll(writer, takeOutPages(region, owner, size), "resize.pages");
    writer.settle();
    if (mutants.has("shrink-pages-before-size")) yield* withdrawPages();
    yield* writeRecord(writer, d, { size }, "resize");
    if (mutants.has("shrink-leaves-pages")) takeOutPages(region, owner, size);
    else yield* withdrawPages();
    return "done";
  });
}

/** Saves pages in one piece: a pending instance, its pages, then publish. Rule 5: everything is taken first. */
export function* store(writer: Writer, name: number, size: number, values: ReadonlyMap<number, number>): Task<Result> {
  return yield* alone(writer, [name], function* () {
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
  return yield* alone(writer, drained, function* () {
    const { region } = writer;
    const source = region.find(from);
    if (source < 0) return "ENOENT";
    if (from === to) return "EINVAL";
    if (region.find(to, PENDING) >= 0) return "EEXIST";
    const { owner, size } = region.directory[source];
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
