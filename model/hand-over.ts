import { makeClaim } from "./check-code.ts";
import {
  DATA,
  frameAt,
  indexLimit,
  type Kind,
  LIVE,
  type Name,
  PENDING,
  pageAt,
  pageWords,
  VOLATILE,
} from "./layout.ts";
import { inside, maskBelow, type Result, refusal, type Target } from "./page-operations.ts";
import { claim, nextRevision, takePage, withdraw, withdrawLoser } from "./pages.ts";
import type { Region } from "./region.ts";
import type { Task } from "./tasks.ts";
import type { Writer } from "./writer.ts";

/** Where a page stands or is to stand. */
export interface Place {
  readonly target: Target;
  readonly kind: Kind;
  readonly index: number;
}

/** Writes a VOLATILE page in place, allocating it at first. Nothing of its content is persisted. */
export function* writeVolatile(writer: Writer, target: Target, index: number, value: number): Task<Result> {
  return yield* inside(writer, target, index, function* (entry) {
    const { region, memory } = writer;
    const name: Name = { owner: entry.owner, kind: VOLATILE, index };
    // Layers hold persistent pages only.
    if (entry.parent !== 0) return "EINVAL";
    yield* writer.lockNames([name]);
    yield;
    const old = region.pageOf(name);
    const page = old ?? (yield* takePage(writer));
    if (page >= 0) {
      memory.fill(pageAt(page), new Array(pageWords).fill(value));
      if (old === undefined) yield* claim(writer, page, name, nextRevision(writer, page, undefined));
      region.setPage(name, page);
    }
    writer.unlockNames([name]);
    return page < 0 ? "ENOSPC" : "done";
  });
}

/**
 * Hands a page that stays where it is to another name, also to one that has a page. The page is then the newest claim
 * of that name.
 */
export function* handOver(writer: Writer, from: Place, to: Place): Task<Result> {
  const { region } = writer;
  if (region.poisoned) return "EPOISONED";
  const instances = [from.target.name, to.target.name];
  yield* writer.enter(instances);
  const result = yield* handOverInside(writer, from, to);
  writer.leave(instances);
  return result;
}

function* handOverInside(writer: Writer, from: Place, to: Place): Task<Result> {
  const { region } = writer;
  const source = nameOf(region, from);
  const destination = nameOf(region, to);
  if (source === undefined || destination === undefined) return "ENOENT";
  const holder = region.directory[region.find(from.target.name, from.target.state)];
  const receiver = region.directory[region.find(to.target.name, to.target.state)];
  const refused = refusal(region, holder) ?? refusal(region, receiver);
  if (refused !== undefined) return refused;
  if (receiver.parent !== 0 && to.kind === VOLATILE) return "EINVAL";
  if (to.index >= receiver.size) return "ERANGE";
  // A page of a live instance would be lost when the save never commits, or at the next start.
  const persistent = from.target.state === LIVE && from.kind === DATA;
  const uncommitted = to.target.state === PENDING || to.kind === VOLATILE;
  if (persistent && uncommitted && !region.mutants.has("handed-to-uncommitted")) return "EINVAL";
  writer.settle();
  const names = region.mutants.has("hand-over-locks-source-only") ? [source] : [source, destination];
  yield* writer.lockNames(names);
  yield;
  const page = region.pageOf(source);
  const old = region.pageOf(destination);
  let result: Result = page === undefined ? "ENOENT" : "done";
  if (page !== undefined && page !== old) {
    const masks = from.kind === DATA && !region.mutants.has("hand-over-without-mask");
    if (masks) result = yield* maskBelow(writer, holder, from.index);
    if (result === "done") yield* moveClaim(writer, page, old, source, destination, from);
  }
  writer.unlockNames(names);
  return result;
}

function* moveClaim(
  writer: Writer,
  page: number,
  old: number | undefined,
  source: Name,
  destination: Name,
  from: Place,
): Task<void> {
  const { region, memory } = writer;
  const { mutants } = region;
  // Rule 1: what was volatile, or was only flushed in a pending instance, is persisted before it counts.
  const unpersisted = from.kind === VOLATILE || (region.limbo && from.target.state === PENDING);
  if (unpersisted && destination.kind !== VOLATILE && !mutants.has("volatile-kept-unflushed")) {
    memory.flush(pageAt(page), pageWords);
    writer.fence("hand-over.content");
  }
  const newest = nextRevision(writer, page, old);
  const revision = mutants.has("hand-over-same-revision") && old !== undefined ? (newest + 3) & 3 : newest;
  if (mutants.has("hand-over-withdraws-first") && old !== undefined) yield* withdraw(writer, [old], "hand-over.end");
  yield* commitHandOver(writer, page, destination, revision);
  // Rule 2: the claim is durable before the page that it replaces is withdrawn.
  writer.fence("hand-over.claim");
  yield;
  region.clearPage(source);
  region.setPage(destination, page);
  if (old !== undefined && !mutants.has("hand-over-withdraws-first")) {
    yield* withdrawLoser(writer, old, "hand-over.end");
  }
}

/** Rule 4: one store; 32 bits do when the index stays. */
function* commitHandOver(writer: Writer, page: number, name: Name, revision: number): Task<void> {
  const { memory, region } = writer;
  const at = frameAt(page);
  const word = makeClaim(page, name, revision);
  yield;
  if (region.mutants.has("hand-over-index-first")) {
    memory.commit32(at, name.index);
    yield;
    memory.commit32(at + 1, word);
  } else if (region.mutants.has("hand-over-claim-first")) {
    memory.commit32(at + 1, word);
    yield;
    memory.commit32(at, name.index);
  } else if (region.mutants.has("hand-over-byte-by-byte")) {
    memory.storeBytes(at, name.index);
    memory.storeBytes(at + 1, word);
  } else if (memory.words[at] === name.index) {
    memory.commit32(at + 1, word);
  } else {
    memory.commit64(at, name.index, word);
  }
  memory.flush(at, 2);
}

function nameOf(region: Region, place: Place): Name | undefined {
  const entry = region.directory[region.find(place.target.name, place.target.state)];
  if (entry === undefined || place.index >= indexLimit) return undefined;
  return { owner: entry.owner, kind: place.kind, index: place.index };
}
