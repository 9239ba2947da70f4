import { kindOf, ownerOf } from "./check-code.ts";
import { DATA, frameAt, type Name, pageAt, TABLE, tableIndices } from "./layout.ts";
import { claim, claimOf, fillPage, nextRevision, takePage } from "./pages.ts";
import type { Entry } from "./record.ts";
import type { Task } from "./tasks.ts";
import type { Writer } from "./writer.ts";

/** What an instance shows at an index: a page of its own or of a layer below, or a hole. */
export interface Seen {
  readonly page: number | undefined;
  /** Owners that the page may claim its place for: a merge may be moving it. */
  readonly owners: readonly number[];
}

/** The name of the TABLE page that holds the mask bit of an index. */
export function tableOf(owner: number, index: number): Name {
  return { owner, kind: TABLE, index: Math.floor(index / tableIndices) };
}

/**
 * Looks an index up through the layers, from the bottom up, in each the mask bit before the claim. A merge moves claims
 * and then masks upwards, entering them above before they leave below, so none is missed on this way, however many
 * merges go on; on the way down two merges can hide one twice.
 */
export function* lookUp(writer: Writer, owner: number, index: number, skip = 0): Task<Seen> {
  const { region } = writer;
  const { mutants } = region;
  if (skip === 0) {
    const page = region.pageOf({ owner, kind: DATA, index });
    if (page !== undefined) return { page, owners: [owner] };
  }
  if (mutants.has("look-up-in-one-pass")) return yield* lookDown(writer, owner, index, skip);
  while (mutants.has("look-up-in-two-passes")) {
    const first = yield* lookDown(writer, owner, index, skip);
    const second = yield* lookDown(writer, owner, index, skip);
    if (first.page === second.page) return second;
  }
  const layers = yield* layersOf(writer, owner, index);
  const owners = layers.map((layer) => layer.owner);
  let page: number | undefined;
  for (const layer of layers.slice(skip).toReversed()) {
    const name: Name = { owner: layer.owner, kind: DATA, index };
    yield;
    const claimFirst = mutants.has("claim-before-mask") ? region.pageOf(name) : undefined;
    if (mutants.has("claim-before-mask")) yield;
    const masked = yield* isMasked(writer, owners, name);
    if (!mutants.has("claim-before-mask")) yield;
    const own = mutants.has("claim-before-mask") ? claimFirst : region.pageOf(name);
    if (own !== undefined) page = own;
    else if (masked && !mutants.has("mask-ignored")) page = undefined;
  }
  return { page, owners };
}

/** The mutants' way: from the top down. */
function* lookDown(writer: Writer, owner: number, index: number, skip: number): Task<Seen> {
  const { region } = writer;
  const owners: number[] = [];
  for (let at = owner; at !== 0; ) {
    const entry = region.entryOf(at);
    if (entry === undefined) break;
    owners.push(at);
    if (owners.length > skip) {
      yield;
      const page = region.pageOf({ owner: at, kind: DATA, index });
      if (page !== undefined) return { page, owners };
      if (yield* isMasked(writer, owners, { owner: at, kind: DATA, index })) break;
    }
    at = index < entry.reach ? entry.parent : 0;
  }
  return { page: undefined, owners };
}

/** The layers that an index is looked up in, from the top. A merge may end one under way: then once more. */
function* layersOf(writer: Writer, owner: number, index: number): Task<Entry[]> {
  const { region } = writer;
  for (;;) {
    const layers: Entry[] = [];
    let at = owner;
    while (at !== 0) {
      yield;
      const entry = region.entryOf(at);
      if (entry === undefined) break;
      layers.push(entry);
      at = index < entry.reach || region.mutants.has("reach-ignored") ? entry.parent : 0;
    }
    if (at === 0 || layers.length === 0) return layers;
  }
}

/** Whether a layer says that an index is a hole whatever lies below. Its TABLE page may be moving up, too. */
export function* isMasked(writer: Writer, owners: readonly number[], { owner, index }: Name): Task<boolean> {
  const { region, memory } = writer;
  const name = tableOf(owner, index);
  for (;;) {
    const table = region.pageOf(name);
    if (table === undefined) return false;
    yield;
    const set = (memory.words[maskWord(table, index)] & maskBit(index)) !== 0;
    const word = claimOf(writer, table);
    const holds =
      kindOf(word) === TABLE && owners.includes(ownerOf(word)) && memory.words[frameAt(table)] === name.index;
    if (holds || region.mutants.has("mask-not-revalidated")) return set;
    yield;
  }
}

/** Whether anything below a layer would show at an index if the layer had nothing to say. */
export function* hasBelow(writer: Writer, entry: Entry, index: number): Task<boolean> {
  if (entry.parent === 0 || index >= entry.reach) return false;
  const { page } = yield* lookUp(writer, entry.owner, index, 1);
  return page !== undefined;
}

/** Sets the mask bit of an index, durable when this returns. The caller holds the lock of the index. */
export function* setMask(writer: Writer, owner: number, index: number): Task<"done" | "ENOSPC"> {
  const { region, memory } = writer;
  const { mutants } = region;
  const name = tableOf(owner, index);
  yield* writer.lockTable(name);
  yield;
  // A merge may just have ended what was below, and dropped the masks of this layer.
  const reach = region.entryOf(owner)?.reach ?? 0;
  if (index >= reach && !mutants.has("masks-nothing")) {
    writer.unlockTable(name);
    return "done";
  }
  let table = region.pageOf(name);
  if (table === undefined) {
    table = yield* takePage(writer);
    if (table < 0) {
      writer.unlockTable(name);
      return "ENOSPC";
    }
    // Rule 1: an old page's content would be read as masks.
    fillPage(writer, table, [0, 0]);
    writer.fence("table.content");
    yield* claim(writer, table, name, nextRevision(writer, table, undefined));
    yield;
    region.setPage(name, table);
  }
  const word = maskWord(table, index);
  yield;
  if (mutants.has("mask-read-then-stored")) {
    const bits = memory.words[word];
    writer.unlockTable(name);
    yield;
    memory.commit32(word, bits | maskBit(index));
  } else {
    memory.or32(word, maskBit(index));
  }
  memory.flush(word, 1);
  writer.fence("trim.mask");
  writer.unlockTable(name);
  return "done";
}

function maskWord(table: number, index: number): number {
  return pageAt(table) + Math.floor((index % tableIndices) / 32);
}

function maskBit(index: number): number {
  return (1 << (index % 32)) >>> 0;
}
