import { kindOf, makeClaim, makeFree, revisionOf } from "./check-code.ts";
import { writeDual } from "./dual-record.ts";
import {
  CLOSED,
  chunkPages,
  endPage,
  frameAt,
  HEAD,
  type Name,
  OPEN,
  pageAt,
  pageWords,
  sectorWords,
  superblockAt,
  tailsOf,
} from "./layout.ts";
import type { FenceName, RecordName } from "./mutant-names.ts";
import type { Task } from "./tasks.ts";
import type { Writer } from "./writer.ts";

/** What a page holds: one value a sector. */
export type Content = readonly [number, number];

/** Takes a free page, raising the mark when there is none below it; -1 when the region is full. */
export function* takePage(writer: Writer): Task<number> {
  const { region } = writer;
  for (;;) {
    yield;
    const page = region.free.shift();
    if (page !== undefined) return page;
    if (writer.limbo.length > 0) writer.fence("settle");
    else if (region.mark >= endPage) return -1;
    else yield* raiseMark(writer, () => region.free.length > 0);
  }
}

/** Takes all pages of a free aligned run and returns its head; -1 when there is none. */
export function* takeRun(writer: Writer): Task<number> {
  const { region } = writer;
  const freeRun = (): number =>
    region.free.find(
      (page) => page % (tailsOf(0).length + 1) === 0 && tailsOf(page).every((t) => region.free.includes(t)),
    ) ?? -1;
  for (;;) {
    yield;
    const head = freeRun();
    if (head >= 0) {
      const taken = [head, ...tailsOf(head)];
      region.free = region.free.filter((page) => !taken.includes(page));
      return head;
    }
    if (writer.limbo.length > 0) writer.fence("settle");
    else if (region.mark >= endPage) return -1;
    else yield* raiseMark(writer, () => freeRun() >= 0);
  }
}

/**
 * Raises the mark by a chunk: all its entries, persist, mark, persist, and only then may any thread use a page of it.
 * `enough` says that another thread has raised it meanwhile.
 */
export function* raiseMark(writer: Writer, enough: () => boolean): Task<void> {
  const { region, memory } = writer;
  const { mutants } = region;
  if (!mutants.has("no-superblock-lock")) yield* region.locks.lock(writer.thread, "superblock");
  if (region.mark < endPage && !enough()) {
    const chunk = Array.from({ length: chunkPages }, (_, k) => region.mark + k);
    const writeEntries = (): void => {
      for (const page of chunk) memory.fill(frameAt(page), [0, makeFree(page, 0)]);
      memory.flush(frameAt(chunk[0]), 2 * chunkPages);
      writer.fence("raise.entries");
    };
    if (!mutants.has("mark-before-entries")) writeEntries();
    if (mutants.has("chunk-used-before-mark")) region.free.push(...chunk);
    yield* writeSuperblock(writer, "raise", { mark: chunk[0] + chunkPages });
    if (mutants.has("mark-before-entries")) writeEntries();
    region.mark = chunk[0] + chunkPages;
    if (!mutants.has("chunk-used-before-mark")) region.free.push(...chunk);
  }
  region.locks.unlock(writer.thread, "superblock");
}

/** Rewrites the dual record of the superblock. */
export function* writeSuperblock(
  writer: Writer,
  record: RecordName,
  change: { mark?: number; closedSum?: number },
): Task<void> {
  const { region } = writer;
  const state = change.closedSum === undefined ? OPEN : CLOSED;
  const mark = change.mark ?? region.mark;
  const values = [++region.sequence, state, region.generation, mark, change.closedSum ?? 0, region.writerId];
  yield* writeDual(writer, superblockAt, values, record);
}

/** Rule 1: completes a page while nothing reaches it. The caller fences before it claims. */
export function fillPage(writer: Writer, page: number, content: Content): void {
  const words = Array.from({ length: pageWords }, (_, k) => content[k < sectorWords ? 0 : 1]);
  writer.memory.fill(pageAt(page), words);
  writer.memory.flush(pageAt(page), pageWords);
}

export function contentOf(writer: Writer, page: number): Content {
  const at = pageAt(page);
  return [writer.memory.words[at], writer.memory.words[at + sectorWords]];
}

/** Rule 4: commits index and claim with one 64-bit store. */
export function* claim(writer: Writer, page: number, name: Name, revision: number): Task<void> {
  const { memory, region } = writer;
  const at = frameAt(page);
  const word = makeClaim(page, name, revision);
  yield;
  if (region.mutants.has("claim-in-two-stores")) {
    memory.commit32(at, name.index);
    yield;
    memory.commit32(at + 1, word);
  } else if (region.mutants.has("claim-byte-by-byte")) {
    memory.storeBytes(at, name.index);
    memory.storeBytes(at + 1, word);
  } else {
    memory.commit64(at, name.index, word);
  }
  memory.flush(at, 2);
}

/**
 * Withdraws claims: commits FREE, one 32-bit store over the index that stands there. Rule 2: a page may be reused only
 * after that is persisted; until then it waits in the limbo of this thread.
 */
export function* withdraw(writer: Writer, pages: readonly number[], fence: FenceName): Task<void> {
  const { region } = writer;
  const { mutants } = region;
  if (pages.length === 0) return;
  if (mutants.has("reuse-before-withdraw")) region.free.push(...pages);
  for (const page of pages) {
    yield;
    commitFree(writer, page);
  }
  if (mutants.has("reuse-before-fence")) region.free.push(...pages);
  yield;
  if (!mutants.has("reuse-before-withdraw") && !mutants.has("reuse-before-fence")) writer.limbo.push(...pages);
  writer.fence(fence);
}

/** Withdraws the loser of a commit that is durable: its fence may wait, since the winner already counts. */
export function* withdrawLoser(writer: Writer, page: number, fence: FenceName): Task<void> {
  const { limbo, mutants } = writer.region;
  if (!limbo && !mutants.has("unlock-before-fence")) return yield* withdraw(writer, [page], fence);
  yield;
  commitFree(writer, page);
  writer.limbo.push(page);
}

/** Withdraws pages among which may be heads of runs: heads first, persist, then their tails. */
export function* withdrawAll(writer: Writer, pages: readonly number[], fence: FenceName): Task<void> {
  const tails = pages.filter((page) => kindOf(claimOf(writer, page)) === HEAD).flatMap(tailsOf);
  if (writer.region.mutants.has("run-tails-withdrawn-first")) {
    yield* withdraw(writer, tails, "run.tails-free");
    yield* withdraw(writer, pages, fence);
    return;
  }
  yield* withdraw(writer, pages, fence);
  yield* withdraw(writer, tails, "run.tails-free");
}

export function commitFree(writer: Writer, page: number): void {
  const { memory, region } = writer;
  const at = frameAt(page);
  memory.commit32(at + 1, region.mutants.has("free-as-zero") ? 0 : makeFree(page, memory.words[at]));
  memory.flush(at, 2);
}

export function claimOf(writer: Writer, page: number): number {
  return writer.memory.words[frameAt(page) + 1];
}

/** The revision that wins over what stands at a name; any one will do for a name that has no page. */
export function nextRevision(writer: Writer, page: number, old: number | undefined): number {
  if (old === undefined) return (page * 3) & 3;
  return (revisionOf(claimOf(writer, old)) + 1) & 3;
}
