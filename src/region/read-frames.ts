import type { Steps } from "../base/index.ts";
import type { FoundInstance, GiveBack, Plan, Recovered } from "./analysis.ts";
import {
  claimHigh,
  claimLow,
  describeClaim,
  indexHigh,
  indexLow,
  kind,
  kindOf,
  legalKinds,
  ownerOf,
  pageHigh,
  pageLow,
} from "./claim.ts";
import type { Findings, Problem } from "./findings.ts";
import { type FrameBlock, type FrameTable, tableProgress } from "./frame-table.ts";
import type { FreePages } from "./free-pages.ts";
import type { Shape } from "./geometry.ts";
import { recordState, regionOwner } from "./layout.ts";
import { type ChunkArena, chunkMask, chunkOf, slabMask, slabOf } from "./page-table.ts";
import { isSound, newerOf } from "./read-directory.ts";

/** What the scan of the frame table reads from and fills. */
export interface FrameScan {
  readonly table: FrameTable;
  readonly shape: Shape;
  readonly marked: number;
  readonly instances: Map<number, FoundInstance>;
  readonly directoryPages: readonly number[];
  readonly freePages: FreePages;
  readonly arena: ChunkArena;
  readonly plan: Plan;
  readonly recovered: Recovered;
  readonly findings: Findings;
  /** Every page of masks, in order. */
  readonly maskPages: number[];
}

// Constants of this module are constants to the compiler; fields of an imported object are loaded every time.
const DATA: number = kind.data;
/** What a free page says apart from its index and check: no owner, no revision. */
const FREE: number = kind.free << 28;
const ALL_BUT_CHECK = 0xfc07ffff | 0;
const OWNER_AND_KIND = 0xf007ffff | 0;

/** Whether the first `count` entries of a block have legal kinds and right checks: 4 ns an entry, measured. */
function areSound({ words, firstPage }: FrameBlock, count: number): boolean {
  // Local names: an imported table is looked up at every use.
  const tables = { il: indexLow, ih: indexHigh, cl: claimLow, ch: claimHigh, pl: pageLow };
  const { il, ih, cl, ch, pl } = tables;
  const legal = legalKinds;
  const high = pageHigh[firstPage >>> 16];
  let wrong = 0;
  for (let k = 0; k < count; k++) {
    const index = words[2 * k];
    const claim = words[2 * k + 1];
    const page = firstPage + k;
    wrong |= il[index & 0xffff] ^ ih[index >>> 16] ^ cl[claim & 0xffff] ^ ch[claim >>> 16] ^ pl[page & 0xffff] ^ high;
    wrong |= ~(legal >>> (claim >>> 28)) & 1;
  }
  return wrong === 0;
}

/** Walks every frame entry once: verifies it, files its page in the table of its owner, plans what to withdraw. */
export class FrameReader {
  readonly #scan: FrameScan;
  /** Instances by owner: an array, since entries of many owners may follow each other in any order. */
  readonly #byOwner: (FoundInstance | undefined)[] = [];
  readonly #contested = new Set<string>();
  /** Pages that saves without an end had taken from their source, by owner and index. */
  readonly #saved = new Map<string, GiveBack>();
  /** Pages that are metadata and say so. */
  #metadata = 0;
  /** The run that the last tail belongs to. */
  readonly #run = { head: 0, end: 0 };

  constructor(scan: FrameScan) {
    this.#scan = scan;
    for (const instance of scan.instances.values()) this.#byOwner[instance.owner] = instance;
  }

  *read(): Steps<void> {
    const { table, freePages, shape } = this.#scan;
    for (const block of table.blocks()) {
      this.#readBlock(block);
      yield tableProgress(shape, block, 2);
    }
    this.#endRun();
    this.#giveBack();
    this.#verifyMetadata();
    freePages.countBits();
  }

  // Two plain loops a block, each called often enough that the compiler meets it early: one verifies, one files. A loop
  // in `read` itself would run interpreted to its end.
  #readBlock(block: FrameBlock): void {
    const below = Math.max(0, Math.min(block.pages, this.#scan.marked - block.firstPage));
    if (areSound(block, below)) this.#fileAll(block, below);
    else this.#fileSound(block, below);
    if (below < block.pages) this.#readAboveMark(block, below);
  }

  /** Files the first `end` entries of a block, which are sound. */
  #fileAll({ words, firstPage }: FrameBlock, end: number): void {
    const byOwner = this.#byOwner;
    const { arena, freePages } = this.#scan;
    const { slabs } = arena;
    let free = 0;
    // Neighbours mostly belong to one instance.
    let ownerAndKind = 0;
    let instance: FoundInstance | undefined;
    for (let k = 0; k < end; k++) {
      const page = firstPage + k;
      const index = words[2 * k];
      const claim = words[2 * k + 1];
      if ((claim & OWNER_AND_KIND) !== ownerAndKind) {
        ownerAndKind = claim & OWNER_AND_KIND;
        instance = claim >>> 28 === DATA ? byOwner[claim & 0x7ffff] : undefined;
      }
      if (instance !== undefined && index < instance.limit) {
        const start = instance.data.startOf(chunkOf(index)) || instance.data.makeChunk(chunkOf(index));
        const slab = slabs[slabOf(start)];
        const at = (start & slabMask) + (index & chunkMask);
        if (slab[at] === 0) {
          slab[at] = page;
          instance.pages++;
        } else this.#settle(instance, page, index, claim, slab[at]);
      } else if ((claim & ALL_BUT_CHECK) === FREE) free |= 1 << (page & 31);
      else this.#fileSpecial(page, index, claim);
      if ((page & 31) === 31 || k === end - 1) {
        freePages.releaseWord(page >>> 5, free);
        free = 0;
      }
    }
  }

  /** Files those of the first `end` entries that are sound, and reports the others. */
  #fileSound(block: FrameBlock, end: number): void {
    for (let k = 0; k < end; k++) {
      const page = block.firstPage + k;
      const words = block.words.subarray(2 * k, 2 * k + 2);
      const one = { firstPage: page, pages: 1, words, bytes: block.bytes };
      if (areSound(one, 1)) this.#fileAll(one, 1);
      else this.#report("check", page, words[0], words[1], "a right check");
    }
  }

  /** Whatever is no page of a live instance inside of its size. */
  #fileSpecial(page: number, index: number, claim: number): void {
    const { plan, recovered, maskPages } = this.#scan;
    const instance = this.#byOwner[ownerOf(claim)];
    const kindNumber = kindOf(claim);
    if (kindNumber === kind.table) maskPages.push(page);
    if (ownerOf(claim) === regionOwner) this.#fileOwn(page, index, claim);
    else if (instance === undefined) this.#report("owner", page, index, claim, "an owner that exists");
    else if (kindNumber === kind.run) this.#fileTail(instance, page, index, claim);
    else if (kindNumber !== kind.data && kindNumber !== kind.volatile && kindNumber !== kind.table) {
      this.#report("kind", page, index, claim, "a kind that instances have");
    } else if (instance.ends) this.#end(instance, page, index, claim);
    else if (kindNumber === kind.table && index < this.#tablesOf(instance))
      this.#fileTable(instance, page, index, claim);
    else {
      plan.free.push(page);
      if (kindNumber === kind.volatile) recovered.volatile++;
      else recovered.beyondSize++;
    }
  }

  // Without a parent there is nothing to mask, and from the reach on the parent is not asked.
  #tablesOf({ record }: FoundInstance): number {
    return record.parent === 0 ? 0 : Math.ceil(record.reach / this.#scan.shape.masksPerPage);
  }

  /** A page of masks is changed in place and never replaced, so there is one of each. */
  #fileTable(instance: FoundInstance, page: number, index: number, claim: number): void {
    const other = instance.masks.get(index);
    if (other !== 0) {
      this.#report("name", page, index, claim, `one page of masks of a range (another is at page ${other})`);
      return;
    }
    instance.masks.set(index, page);
    instance.maskPages++;
  }

  #fileOwn(page: number, index: number, claim: number): void {
    const { shape, directoryPages } = this.#scan;
    if (kindOf(claim) === kind.meta && index === page && (shape.isMetadata(page) || shape.hasUnknownParts)) {
      this.#metadata++;
      return;
    }
    if (kindOf(claim) === kind.bad) return;
    // A second claim of one was reported before.
    if (kindOf(claim) === kind.directory && directoryPages[index] !== undefined) return;
    this.#report("kind", page, index, claim, "a page that the region itself owns");
  }

  /** Every page of metadata says so: else one of them might be given out. */
  #verifyMetadata(): void {
    const { shape, marked, table } = this.#scan;
    const expected = shape.firstPage + (shape.lastPage < marked ? 1 : 0);
    if (this.#metadata === expected) return;
    const pages = Array.from({ length: shape.firstPage }, (_, page) => page);
    for (const page of shape.lastPage < marked ? [...pages, shape.lastPage] : pages) {
      const { index, claim } = table.entry(page);
      if (kindOf(claim) !== kind.meta) this.#report("metadata", page, index, claim, "META, since the page is metadata");
    }
  }

  // ---- instances that end ----------------------------------------------------------------------------------

  // Their pages are freed, unless a save that was never committed had taken them from elsewhere.
  #end(instance: FoundInstance, page: number, index: number, claim: number): void {
    const { plan, recovered, instances } = this.#scan;
    const source = instance.record.state === recordState.pending ? instances.get(instance.record.source) : undefined;
    if (source !== undefined && !source.ends && kindOf(claim) === kind.data) {
      this.#fileSaved({ page, index, kind: kind.data, owner: source.owner }, claim);
      return;
    }
    plan.free.push(page);
    recovered.unfinished++;
  }

  #fileSaved(saved: GiveBack, claim: number): void {
    const { plan, recovered, table } = this.#scan;
    const name = `${ownerOf(claim)}:${saved.index}`;
    const other = this.#saved.get(name);
    if (other === undefined) {
      this.#saved.set(name, saved);
      return;
    }
    const winner = newerOf(other.page, table.entry(other.page).claim, saved.page, claim);
    const isThird = this.#contested.has(name);
    this.#contested.add(name);
    if (winner === 0 || isThird)
      this.#report("name", saved.page, saved.index, claim, `one claim of a name (another: page ${other.page})`);
    plan.free.push(winner === saved.page ? other.page : saved.page);
    recovered.losers++;
    if (winner === saved.page) this.#saved.set(name, saved);
  }

  // Only now is it known what the source holds by itself: what it wrote since at the same index is newer.
  #giveBack(): void {
    const { plan, recovered, instances } = this.#scan;
    for (const saved of this.#saved.values()) {
      const source = instances.get(saved.owner) as FoundInstance;
      if (source.data.get(saved.index) === 0 && saved.index < source.limit) {
        source.data.set(saved.index, saved.page);
        source.pages++;
        plan.giveBack.push(saved);
      } else {
        plan.free.push(saved.page);
        recovered.unfinished++;
      }
    }
  }

  // ---- two claims of one name ------------------------------------------------------------------------------

  #settle(instance: FoundInstance, page: number, index: number, claim: number, other: number): void {
    const before = this.#scan.table.entry(other);
    const winner = newerOf(other, before.claim, page, claim);
    const name = `${ownerOf(claim)}:${index}`;
    if (winner === 0 || this.#contested.has(name) || this.#isRunPart(instance, other, index)) {
      const expected = `one claim of a name, or two of adjacent revisions (another is at page ${other})`;
      this.#report("name", page, index, claim, expected);
      return;
    }
    this.#contested.add(name);
    this.#scan.recovered.losers++;
    this.#scan.plan.free.push(winner === page ? other : page);
    instance.data.set(index, winner);
  }

  /** Parts of a run are never replaced, so a second claim of their name is corruption. */
  #isRunPart(instance: FoundInstance, page: number, index: number): boolean {
    const { table, marked } = this.#scan;
    if (kindOf(table.entry(page).claim) === kind.run) return true;
    if (page + 1 >= marked) return false;
    const next = table.entry(page + 1);
    return kindOf(next.claim) === kind.run && ownerOf(next.claim) === instance.owner && next.index === index + 1;
  }

  // ---- aligned runs ----------------------------------------------------------------------------------------

  /** A tail goes on where the page before it stands in the table at the index before. */
  #fileTail(instance: FoundInstance, page: number, index: number, claim: number): void {
    const { plan, recovered } = this.#scan;
    const goesOn = index > 0 && !instance.ends && instance.data.get(index - 1) === page - 1;
    if (!goesOn) {
      // Tails are claimed before their head and withdrawn after it: without a head they are what a kill left.
      plan.freeTails.push(page);
      recovered.orphans++;
      return;
    }
    if (this.#run.end !== page) {
      this.#endRun();
      this.#run.head = page - 1;
    }
    this.#run.end = page + 1;
    if (instance.data.get(index) !== 0) this.#report("name", page, index, claim, "an index that no other page claims");
    else if (index >= instance.limit) this.#report("run", page, index, claim, "a run inside of its instance");
    else {
      instance.data.set(index, page);
      instance.pages++;
      instance.tails++;
    }
  }

  #endRun(): void {
    const { head, end } = this.#run;
    const length = end - head;
    if (head === 0 || ((length & (length - 1)) === 0 && head % length === 0)) return;
    const { index, claim } = this.#scan.table.entry(head);
    this.#report("run", head, index, claim, "a run of 2^n pages on a multiple of 2^n");
  }

  // ---- above the high-water mark ---------------------------------------------------------------------------

  // A kill inside of raising leaves torn entries there. A sound claim is none of those, but FREE and META of metadata.
  #readAboveMark({ words, firstPage, pages }: FrameBlock, from: number): void {
    for (let k = from; k < pages; k++) {
      const claim = words[2 * k + 1];
      if (claim === 0 || kindOf(claim) === kind.free) continue;
      const page = firstPage + k;
      if (kindOf(claim) === kind.meta && this.#scan.shape.isMetadata(page)) continue;
      if (isSound(page, words[2 * k], claim))
        this.#report("mark", page, words[2 * k], claim, "no claim above the high-water mark");
    }
  }

  #report(problem: Problem, page: number, index: number, claim: number, expected: string): void {
    const found = describeClaim(index, claim);
    this.#scan.findings.add({ where: "frame", problem, page, owner: ownerOf(claim), expected, found });
  }
}
