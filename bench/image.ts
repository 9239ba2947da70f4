import { closeSync, openSync, truncateSync } from "node:fs";
import { attachMemory, formatMemory } from "../src/format/index.ts";
import { kind } from "../src/region/claim.ts";
import type { Durable } from "../src/region/frame-writer.ts";
import { nativeFormat, type OpenRegion } from "../src/region/index.ts";
import type { InstanceState } from "../src/region/instance-state.ts";
import { raiseMark } from "../src/region/state-record.ts";
import { openSparse } from "./sparse-memory.ts";

/**
 * How the pages of instances lie in a region: `young` in the order of their indices, as they were first allocated;
 * `runs` in pieces of 64, all over the region, as after a long life with large writes; `random` page by page.
 */
export type Placement = "young" | "runs" | "random";

/** A region that is to be made. */
export interface Image {
  readonly sizeBytes: number;
  /** Share of the pages that instances may have which they do have. */
  readonly fill: number;
  readonly placement: Placement;
}

export const instanceCount = 8;
export const instanceName = (number: number): string => `instance ${number}`;
const RUN_PAGES = 64;
const SEED = 20_250_101;

/** Makes a region by the library's own stores, closed, whose data pages are holes. */
export function makeImage(path: string, image: Image): void {
  closeSync(openSync(path, "wx", 0o600));
  truncateSync(path, image.sizeBytes);
  const memory = openSparse(path);
  try {
    formatMemory(memory, nativeFormat());
    const attached = attachMemory<OpenRegion>(memory);
    fillRegion(attached.handle, image);
    attached.detach();
  } finally {
    memory.close();
  }
}

function fillRegion(region: OpenRegion, { fill, placement }: Image): void {
  const { core } = region;
  const { writer } = region.pages;
  const instances = Array.from({ length: instanceCount }, (_, k) => createInstance(region, instanceName(k)));
  const room = core.freeCount - core.reservePages;
  const claimed = Math.min(Math.floor(room * fill), room - 1);
  // A young region has never used the pages above the last claim; an aged one has used them all.
  const used = placement === "young" ? claimed : core.freeCount;
  while (core.freePages.count < used) raiseMark(region.memory, core);
  const pages = order(freePages(region), placement);
  const share = Math.ceil(claimed / instanceCount);
  for (let k = 0; k < claimed; k++) {
    const { owner } = instances[Math.floor(k / share)];
    writer.claim(pages[k] as Durable, owner, kind.data, k % share, 0);
  }
}

function createInstance(region: OpenRegion, name: string): InstanceState {
  const sizeBytes = 2 ** 32 * region.core.shape.pageBytes;
  const rest = { schema: 0, attributes: new Uint8Array(0), pending: false, source: 0 };
  return region.layers.directory.create({ subsystem: "bench", name, sizeBytes, ...rest });
}

function freePages({ core }: OpenRegion): Uint32Array {
  const pages = new Uint32Array(core.freePages.count);
  let count = 0;
  for (let page = 0; page < core.state.marks[0]; page++) if (core.freePages.has(page)) pages[count++] = page;
  return pages;
}

function order(pages: Uint32Array, placement: Placement): Uint32Array {
  if (placement === "young") return pages;
  const piece = placement === "runs" ? RUN_PAGES : 1;
  const starts = Uint32Array.from({ length: Math.ceil(pages.length / piece) }, (_, k) => k * piece);
  shuffle(starts, SEED);
  const ordered = new Uint32Array(pages.length);
  let at = 0;
  for (const start of starts) {
    for (let k = start; k < Math.min(start + piece, pages.length); k++) ordered[at++] = pages[k];
  }
  return ordered;
}

/** Puts values into a random order that is the same in every run (Fisher and Yates). */
export function shuffle(values: Uint32Array, seed: number): void {
  const random = randomFrom(seed);
  for (let last = values.length - 1; last > 0; last--) {
    const chosen = random() % (last + 1);
    [values[last], values[chosen]] = [values[chosen], values[last]];
  }
}

/** A xorshift generator of unsigned 32-bit numbers. */
export function randomFrom(seed: number): () => number {
  let state = seed | 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
}
