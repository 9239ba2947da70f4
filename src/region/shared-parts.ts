import { PerdureError } from "../base/index.ts";
import type { Analysis } from "./analysis.ts";
import { FreePages, type SharedFreePages } from "./free-pages.ts";
import { NameLocks, watchWaits } from "./locks.ts";
import { OwnerWords } from "./owner-words.ts";
import { ChunkArena, type SharedArena } from "./page-table.ts";
import { Pins, type SharedPins } from "./pins.ts";
import { Senders } from "./senders.ts";
import { SharedWords } from "./shared-words.ts";
import { ThreadTable } from "./thread-table.ts";

/** The buffers that the threads of a writer share: all that one of them needs beside the memory. */
export interface SharedBuffers {
  readonly words: SharedArrayBuffer;
  readonly threads: SharedArrayBuffer;
  readonly names: SharedArrayBuffer;
  readonly tableNames: SharedArrayBuffer;
  readonly owners: readonly SharedArrayBuffer[];
  readonly arena: SharedArena;
  readonly freePages: SharedFreePages;
  readonly pins: SharedPins;
}

/** What the threads of a writer share, as one of them has it. Nothing of it is ever on media. */
export interface SharedParts {
  /** The number of this thread. */
  readonly thread: number;
  readonly words: SharedWords;
  readonly threads: ThreadTable;
  readonly names: NameLocks;
  readonly tableNames: NameLocks;
  readonly owners: OwnerWords;
  readonly arena: ChunkArena;
  readonly freePages: FreePages;
  readonly pins: Pins;
  readonly senders: Senders;
}

/** Makes the parts of a region that is opened: its first thread has them alone. */
export function makeParts({ arena, freePages, state, sequence }: Analysis, pages: number): SharedParts {
  const words = new SharedWords();
  words.sequence = sequence;
  words.mark = state.marks[0];
  const threads = new ThreadTable();
  const thread = threads.enter();
  const senders = new Senders(threads, thread, false);
  freePages.senders = senders;
  return {
    thread,
    words,
    threads,
    names: new NameLocks(),
    tableNames: new NameLocks(),
    owners: new OwnerWords(),
    arena,
    freePages,
    pins: new Pins(pages),
    senders,
  };
}

/** What another thread makes parts of its own of. */
export function shareParts(parts: SharedParts): SharedBuffers {
  parts.senders.share();
  return {
    words: parts.words.buffer,
    threads: parts.threads.buffer,
    names: parts.names.words.buffer as SharedArrayBuffer,
    tableNames: parts.tableNames.words.buffer as SharedArrayBuffer,
    owners: parts.owners.share(),
    arena: parts.arena.share(),
    freePages: parts.freePages.share(),
    pins: parts.pins.share(),
  };
}

/** The parts of a thread that joins others. It has a number from now on. @throws CLOSED, POISONED, EBUSY */
export function joinParts(shared: SharedBuffers, pages: number): SharedParts {
  const words = new SharedWords(shared.words);
  const threads = new ThreadTable(shared.threads);
  threads.bury().forEach((number) => words.poison(endedInside(number)));
  const thread = threads.enter();
  // The owner that closes the region sees the number above, or this thread sees that it closes.
  words.waitWhileClosing();
  if (words.isClosed || words.isPoisoned) {
    threads.leave(thread);
    if (words.isClosed) throw new PerdureError("CLOSED", "the region was closed by its owner");
    // Its owner may have given the memory up already.
    throw new PerdureError("POISONED", `an operation on the region failed half-way: ${words.reason}`);
  }
  const senders = new Senders(threads, thread, true);
  const freePages = new FreePages(pages, shared.freePages, thread);
  freePages.senders = senders;
  return {
    thread,
    words,
    threads,
    names: new NameLocks(shared.names),
    tableNames: new NameLocks(shared.tableNames),
    owners: new OwnerWords(shared.owners),
    arena: new ChunkArena(pages, shared.arena, thread),
    freePages,
    pins: new Pins(pages, shared.pins),
    senders,
  };
}

/**
 * Takes the numbers of threads back that ended without leaving. One that ended inside of an operation poisons the
 * region: nobody can tell what it left half-way.
 */
export function buryThreads({ words, threads }: SharedParts): void {
  for (const number of threads.bury()) words.poison(endedInside(number));
}

/** How many threads beside this one have the region open and live. */
export function livingBeside(parts: SharedParts): number {
  const { words, threads, thread } = parts;
  const ended = threads.bury();
  for (const number of ended) words.poison(endedInside(number));
  return threads.numbers.filter((number) => number !== thread && !ended.includes(number)).length;
}

const endedInside = (thread: number): string => `thread ${thread} ended inside of an operation`;

/** Has `look` called when this thread waits for long at any lock or gate of the region. */
export function watchParts(parts: SharedParts, look: () => void): void {
  const { words, names, tableNames, owners, arena } = shareParts(parts);
  for (const buffer of [words, names, tableNames, ...owners, arena.words]) watchWaits(buffer, look);
}
