import { freeRecord, giveTo, pagesOf, writeRecord } from "./directory.ts";
import { isMasked, tableOf } from "./layers.ts";
import { DATA, indexLimit, type Name, pageAt, pageWords, TABLE, tableIndices } from "./layout.ts";
import { commitFree, withdraw } from "./pages.ts";
import type { Entry } from "./record.ts";
import type { Task } from "./tasks.ts";
import type { Writer } from "./writer.ts";

/**
 * Merges a layer that is to end into the only one that stands on it, and ends it. Nothing is allocated, and the merge
 * may be taken up anywhere: until the child's record names another parent, the child shows what is left in this one.
 */
export function* merge(writer: Writer, p: number, c: number): Task<void> {
  const { region } = writer;
  const { mutants } = region;
  const parent = region.directory[p];
  const child = region.directory[c];
  const reach = Math.min(parent.reach, mutants.has("reach-not-merged") ? indexLimit : child.reach);
  const adopt = (): Task<void> => {
    const own = mutants.has("reach-not-merged") ? child.reach : reach;
    return writeRecord(writer, c, { parent: parent.parent, reach: parent.parent === 0 ? 0 : own }, "merge.child");
  };
  if (mutants.has("merge-child-first")) yield* adopt();
  if (mutants.has("merge-frees-first")) yield* freeRecord(writer, p, "delete.free");
  for (let table = 0; table * tableIndices < indexLimit; table++) {
    const at: Name = { owner: child.owner, kind: TABLE, index: table };
    if (mutants.has("merge-masks-first")) yield* mergeMasks(writer, parent, at, reach);
    yield* mergeClaims(writer, parent, child, table);
    if (!mutants.has("merge-masks-first")) yield* mergeMasks(writer, parent, at, reach);
  }
  if (!mutants.has("merge-child-first")) yield* adopt();
  // With nothing below it, a mask masks nothing.
  if (parent.parent === 0 && !mutants.has("bottom-keeps-tables")) yield* dropTables(writer, child.owner);
  if (!mutants.has("merge-frees-first")) yield* freeRecord(writer, p, "delete.free");
}

/** Own claims go before masks: a claim that has a mask bit beside it would else look covered after a crash. */
function* mergeClaims(writer: Writer, parent: Entry, child: Entry, table: number): Task<void> {
  const { region } = writer;
  const { mutants } = region;
  const claimed = pagesOf(region, parent.owner)
    .filter(({ kind, index }) => kind === DATA && Math.floor(index / tableIndices) === table)
    .sort((a, b) => a.index - b.index);
  const covering: Name[] = [];
  for (const { index, page } of claimed) {
    const below: Name = { owner: parent.owner, kind: DATA, index };
    const above: Name = { owner: child.owner, kind: DATA, index };
    if (!mutants.has("merge-without-name-locks")) yield* writer.lockNames([above]);
    yield;
    const covered =
      (region.pageOf(above) !== undefined && !mutants.has("merge-overwrites")) ||
      (index >= child.reach && !mutants.has("merge-ignores-reach")) ||
      ((yield* isMasked(writer, [child.owner], above)) && !mutants.has("merge-ignores-mask"));
    if (covered) {
      commitFree(writer, page);
      writer.limbo.push(page);
      covering.push(below);
      if (mutants.has("covered-left-early")) region.clearPage(below);
    } else {
      giveTo(writer, page, child.owner);
      // Never in neither table: who looks from the bottom up meets it in one of them.
      if (mutants.has("merge-leaves-table-first")) region.clearPage(below);
      yield;
      region.setPage(above, page);
      yield;
      region.clearPage(below);
    }
    writer.unlockNames([above]);
  }
  if (claimed.length > 0) writer.fence("merge.claims");
  // Only now: a trim that saw nothing below would set no mask, and a power cut brings the page below back.
  for (const name of covering) region.clearPage(name);
}

/** The masks of a range follow its claims: the TABLE page itself when the child has none, else its bits. */
function* mergeMasks(writer: Writer, parent: Entry, above: Name, reach: number): Task<void> {
  const { region, memory } = writer;
  const { mutants } = region;
  const below: Name = { ...above, owner: parent.owner };
  yield* writer.lockTable(above);
  yield;
  const from = region.pageOf(below);
  const to = region.pageOf(above);
  const vain = above.index * tableIndices >= reach || mutants.has("merge-without-masks");
  if (from !== undefined && to === undefined && !vain) {
    giveTo(writer, from, above.owner);
    writer.fence("merge.masks");
    yield;
    region.setPage(above, from);
    yield;
    region.clearPage(below);
  } else if (from !== undefined) {
    if (to !== undefined && !vain) {
      for (let word = 0; word < pageWords; word++) {
        const bits = memory.words[pageAt(from) + word];
        if (bits === 0) continue;
        yield;
        if (mutants.has("merge-copies-masks")) memory.commit32(pageAt(to) + word, bits);
        else memory.or32(pageAt(to) + word, bits);
      }
      memory.flush(pageAt(to), pageWords);
      writer.fence("merge.masks");
    }
    yield;
    region.clearPage(below);
    yield* withdraw(writer, [from], "merge.tables");
  }
  writer.unlockTable(above);
}

function* dropTables(writer: Writer, owner: number): Task<void> {
  for (let index = 0; index * tableIndices < indexLimit; index++) {
    const name = tableOf(owner, index * tableIndices);
    yield* writer.lockTable(name);
    yield;
    const page = writer.region.pageOf(name);
    writer.region.clearPage(name);
    if (page !== undefined) yield* withdraw(writer, [page], "merge.tables");
    writer.unlockTable(name);
  }
}
