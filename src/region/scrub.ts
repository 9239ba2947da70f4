import { setImmediate as nextTurn } from "node:timers/promises";
import { PerdureError } from "../base/index.ts";
import type { Memory } from "../memory/index.ts";
import { ownerOf } from "./claim.ts";
import type { RegionCore } from "./core.ts";
import { type FrameEntry, readEntry } from "./frame-table.ts";
import type { OpenRegion } from "./open-region.ts";
import { nameKey } from "./records.ts";
import { copySealed, type DamagedPage, isContent, placeOf, type Verdict } from "./seals.ts";

/** So much is read in one turn of the event loop: about a millisecond. */
const TURN_BYTES = 2 ** 20;
/** A page that a writer changes again and again is given up after so many tries. */
const PAGE_TRIES = 5;
/** The list of damaged pages ends here; the count goes on. */
const MAX_LISTED = 1000;

/** What is scrubbed, and who is told how far it is. */
export interface ScrubOptions {
  /** Only these instances; all of them when left out. */
  readonly instances?: readonly { readonly subsystem: string; readonly name: string }[];
  /** Ends the scrub: it rejects with the reason of the signal. */
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: ScrubProgress) => void;
}

/** How far a scrub is: pages looked at, of how many. */
export interface ScrubProgress {
  readonly donePages: number;
  readonly pages: number;
}

/** What a scrub found. */
export interface ScrubReport {
  readonly source: string;
  readonly pageBytes: number;
  /** Pages whose content is what was stored. */
  readonly intactPages: number;
  /** Pages without a checksum: they are or were held to be written through a view. */
  readonly unsealedPages: number;
  readonly damagedPages: number;
  /** Where the first 1000 of them are. */
  readonly damaged: readonly DamagedPage[];
}

/**
 * Walks all pages in the order in which they stand, and believes their claims as they are at that moment: so it may run
 * beside a writer. Stores nothing.
 *
 * @throws EINVAL, ENOENT, EIO, CLOSED, MEMORY_LOST; the reason of the signal
 */
export async function scrubRegion(region: OpenRegion, options: ScrubOptions): Promise<ScrubReport> {
  const { memory, core } = region;
  core.refuseUnusable();
  const { shape, source } = core;
  if (!shape.hasSeals) {
    throw new PerdureError("EINVAL", `${source} has no checksums of its content`, {
      remedy: "make a region with `perdure format --checksums` and copy the data there",
    });
  }
  const scrub = new Scrub(memory, core, options);
  const { signal, onProgress } = options;
  const step = Math.max(1, TURN_BYTES / shape.pageBytes);
  const first = shape.firstPage;
  for (let page = first; page < core.words.mark; page += step) {
    signal?.throwIfAborted();
    core.refuseUnusable();
    const mark = core.words.mark;
    const end = Math.min(page + step, mark);
    scrub.pages(page, end);
    // Lost memory reads as zeroes: no damage, but nothing to be judged.
    memory.refuseLost();
    onProgress?.({ donePages: end - first, pages: mark - first });
    await nextTurn();
  }
  return { source, pageBytes: shape.pageBytes, ...scrub.counts, damaged: scrub.damaged };
}

class Scrub {
  readonly counts = { intactPages: 0, unsealedPages: 0, damagedPages: 0 };
  readonly damaged: DamagedPage[] = [];
  readonly #memory: Memory;
  readonly #core: RegionCore;
  /** Owners that are asked for; undefined for all. */
  readonly #owners: Set<number> | undefined;
  readonly #content: Uint8Array;

  constructor(memory: Memory, core: RegionCore, { instances }: ScrubOptions) {
    this.#memory = memory;
    this.#core = core;
    this.#content = new Uint8Array(core.shape.pageBytes);
    this.#owners = instances === undefined ? undefined : new Set(instances.map((one) => ownerNamed(core, one)));
  }

  /** Looks at the pages from `first` to below `end`. */
  pages(first: number, end: number): void {
    const words = new Uint32Array(2 * (end - first));
    this.#memory.readInto(this.#core.shape.entryOffset(first), new Uint8Array(words.buffer));
    for (let k = 0; k < end - first; k++) this.#page(first + k, { index: words[2 * k], claim: words[2 * k + 1] });
  }

  #page(page: number, found: FrameEntry): void {
    const { shape } = this.#core;
    let entry = found;
    for (let tries = 0; tries < PAGE_TRIES && this.#isWanted(entry); tries++) {
      const verdict = copySealed(this.#memory, shape, page, this.#content);
      // Bytes and seal of a page that its writer has given to somebody else meanwhile belong to two owners.
      const before = entry;
      if (verdict === "damaged" || verdict === "changing") entry = readEntry(this.#memory, shape, page);
      const isSame = before.index === entry.index && before.claim === entry.claim;
      if (isSame && verdict !== "changing") {
        this.#count(verdict, page);
        return;
      }
    }
    // Its writer is at work on it, so it is without a seal every other moment.
    if (this.#isWanted(entry)) this.counts.unsealedPages++;
  }

  #isWanted({ claim }: FrameEntry): boolean {
    return isContent(claim) && (this.#owners === undefined || this.#owners.has(ownerOf(claim)));
  }

  #count(verdict: Verdict, page: number): void {
    if (verdict === "sealed") this.counts.intactPages++;
    else if (verdict === "unsealed") this.counts.unsealedPages++;
    else {
      this.counts.damagedPages++;
      if (this.damaged.length < MAX_LISTED) this.damaged.push(placeOf(this.#memory, this.#core, page));
    }
  }
}

function ownerNamed(core: RegionCore, { subsystem, name }: { subsystem: string; name: string }): number {
  const found = core.byName.get(nameKey(subsystem, name));
  if (found === undefined) throw new PerdureError("ENOENT", `there is no ${subsystem} of the name "${name}"`);
  return found.owner;
}
