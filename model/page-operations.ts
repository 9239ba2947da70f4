import { kindOf, makeFree, ownerOf } from "./check-code.ts";
import { hasBelow, lookUp, setMask } from "./layers.ts";
import {
  DATA,
  frameAt,
  indexLimit,
  type Kind,
  type Name,
  PENDING,
  pageAt,
  type State,
  sectorWords,
  VOLATILE,
} from "./layout.ts";
import {
  type Content,
  claim,
  claimOf,
  contentOf,
  fillPage,
  nextRevision,
  takePage,
  withdraw,
  withdrawAll,
  withdrawLoser,
} from "./pages.ts";
import type { Entry } from "./record.ts";
import type { Region } from "./region.ts";
import type { Task } from "./tasks.ts";
import type { Writer } from "./writer.ts";

/** How an operation ended: done, or refused before its first store. */
export type Result = "done" | "ENOENT" | "ERANGE" | "ENOSPC" | "EINVAL" | "EEXIST" | "EBUSY" | "EROFS" | "EPOISONED";

/** An instance as an operation names it. */
export interface Target {
  readonly name: number;
  readonly state: State;
}

/** Which sectors a write replaces: both, or one of them. */
export type Extent = "page" | "first" | "second";

/** Runs `body` inside the instance; ERANGE and ENOENT are told before any store. */
export function* inside(
  writer: Writer,
  target: Target,
  index: number,
  body: (entry: Entry) => Task<Result>,
): Task<Result> {
  const { region } = writer;
  if (region.poisoned) return "EPOISONED";
  yield* writer.enter([target.name]);
  const entry = region.directory[region.find(target.name, target.state)];
  let result = refusal(region, entry);
  if (result === undefined) result = index < entry.size && index < indexLimit ? yield* body(entry) : "ERANGE";
  writer.leave([target.name]);
  return result;
}

/** Why the content of an instance may not change: what stands on it would change, too. */
export function refusal(region: Region, entry: Entry | undefined): Result | undefined {
  if (entry === undefined) return "ENOENT";
  if (entry.readOnly) return "EROFS";
  return region.childrenOf(entry.owner).length > 0 ? "EBUSY" : undefined;
}

/** Allocates the page at an index or replaces it, whole or one sector of it. */
export function* write(
  writer: Writer,
  target: Target,
  index: number,
  value: number,
  extent: Extent = "page",
): Task<Result> {
  return yield* inside(writer, target, index, (entry) =>
    replace(writer, entry, { owner: entry.owner, kind: DATA, index }, value, extent),
  );
}

function* replace(writer: Writer, entry: Entry, name: Name, value: number, extent: Extent): Task<Result> {
  const { region } = writer;
  const { mutants } = region;
  // Rule 8: the lock of the name is held from looking the page up until the loser's withdrawal is persisted.
  if (!mutants.has("late-name-lock")) yield* writer.lockNames([name]);
  yield;
  const old = region.pageOf(name);
  const base = old ?? (extent === "page" ? undefined : (yield* lookUp(writer, name.owner, name.index)).page);
  // A page of a layer below stays what it is while this name is locked, also when a merge moves it.
  if (base !== old) yield;
  const content = overlay(base === undefined ? [0, 0] : contentOf(writer, base), value, extent);
  const page = yield* takePage(writer);
  if (page < 0) {
    writer.unlockNames([name]);
    return "ENOSPC";
  }
  if (mutants.has("late-name-lock")) yield* writer.lockNames([name]);
  const revision =
    mutants.has("same-revision") && old !== undefined
      ? (nextRevision(writer, page, old) + 3) & 3
      : nextRevision(writer, page, old);
  // Pages of a pending instance are only flushed when no other thread can publish it: one fence stands before that.
  const alone = region.limbo || mutants.has("pending-unfenced-beside-threads");
  const fenced = !alone || entry.state !== PENDING || old !== undefined;
  if (mutants.has("claim-before-fill")) yield* claim(writer, page, name, revision);
  fillPage(writer, page, content);
  if (fenced) writer.fence("write.content");
  if (mutants.has("withdraw-before-claim") && old !== undefined) yield* withdraw(writer, [old], "write.end");
  if (!mutants.has("claim-before-fill")) yield* claim(writer, page, name, revision);
  // Rule 2: the winner's claim is durable before the loser's is withdrawn.
  if (fenced) writer.fence("write.claim");
  if (mutants.has("unlock-before-table")) writer.unlockNames([name]);
  yield;
  region.setPage(name, page);
  if (mutants.has("unlock-before-withdraw")) writer.unlockNames([name]);
  if (old !== undefined && !mutants.has("withdraw-before-claim")) yield* withdrawLoser(writer, old, "write.end");
  writer.unlockNames([name]);
  return "done";
}

/** Frees the page, run or VOLATILE page at an index; it is gone for good when this returns. */
export function* free(writer: Writer, target: Target, index: number, kind: Kind = DATA): Task<Result> {
  return yield* inside(writer, target, index, function* (entry) {
    const { region } = writer;
    const name: Name = { owner: entry.owner, kind, index };
    writer.settle();
    yield* writer.lockNames([name]);
    yield;
    const early = region.mutants.has("trim-withdraws-first") ? region.pageOf(name) : undefined;
    if (early !== undefined) {
      yield* withdrawAll(writer, [early], "free.end");
      region.clearPage(name);
    }
    if (kind === DATA && (yield* maskBelow(writer, entry, index)) === "ENOSPC") {
      writer.unlockNames([name]);
      return "ENOSPC";
    }
    const page = region.pageOf(name);
    if (page !== undefined) {
      if (region.mutants.has("hole-before-free")) region.clearPage(name);
      if (kind === VOLATILE && region.mutants.has("volatile-freed-unflushed")) freeUnflushed(writer, page);
      else yield* withdrawAll(writer, [page], "free.end");
      // Only now: a reader that has seen the hole must not see the page come back after a crash.
      region.clearPage(name);
    }
    writer.unlockNames([name]);
    return "done";
  });
}

/** Before a layer gives up its claim of an index, its mask hides what lies below. */
export function* maskBelow(writer: Writer, entry: Entry, index: number): Task<"done" | "ENOSPC"> {
  if (writer.region.mutants.has("trim-without-mask") || !(yield* hasBelow(writer, entry, index))) return "done";
  return yield* setMask(writer, entry.owner, index);
}

/** The mutant that takes a VOLATILE claim for something no one need persist. */
function freeUnflushed(writer: Writer, page: number): void {
  const at = frameAt(page);
  writer.memory.commit32(at + 1, makeFree(page, writer.memory.words[at]));
  writer.region.free.push(page);
}

/** What a reader gets: the two sectors of a page, or why not. */
export type Reading = Content | "ENOENT" | "ERANGE" | "busy";

/** Looks a page up and copies it; the copy counts when the page claims that name, before and afterwards. */
export function* read(writer: Writer, target: Target, index: number): Task<Reading> {
  const { region, memory } = writer;
  const { mutants } = region;
  for (let attempt = 0; attempt < 4; attempt++) {
    yield;
    const entry = region.directory[region.find(target.name, target.state)];
    if (entry === undefined) return "ENOENT";
    if (index >= entry.size) return "ERANGE";
    const { page, owners } = yield* lookUp(writer, entry.owner, index);
    // Its size and reach are those that the layers were looked up with, or it was shrunk and has grown meanwhile.
    const same = region.directory.includes(entry) || mutants.has("read-with-old-reach");
    if (page === undefined && same) return [0, 0];
    if (page === undefined || !same) continue;
    yield;
    const before = claimOf(writer, page);
    if (!claimsIndex(writer, page, owners, index) && !mutants.has("read-trusts-page-table")) continue;
    yield;
    const first = memory.words[pageAt(page)];
    yield;
    const second = memory.words[pageAt(page) + sectorWords];
    if (claimOf(writer, page) === before || mutants.has("read-not-revalidated")) return [first, second];
  }
  return "busy";
}

/** Whether a page still claims the index that the page table had it for, in one of the layers. */
function claimsIndex(writer: Writer, page: number, owners: readonly number[], index: number): boolean {
  const word = claimOf(writer, page);
  return owners.includes(ownerOf(word)) && kindOf(word) === DATA && writer.memory.words[frameAt(page)] === index;
}

function overlay(old: Content, value: number, extent: Extent): Content {
  if (extent === "page") return [value, value];
  return extent === "first" ? [value, old[1]] : [old[0], value];
}
