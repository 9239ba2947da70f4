// Measures allocation and free in a region that is there: rounds of every way in turn, after one round that warms up.

import { attachMemory } from "../src/format/index.ts";
import { kind, kindOf, ownerOf } from "../src/region/claim.ts";
import type { FrameWriter } from "../src/region/frame-writer.ts";
import { type Instance, type OpenRegion, PageRegion } from "../src/region/index.ts";
import { childTask, finishChild } from "./child.ts";
import { instanceName, randomFrom } from "./image.ts";
import { openSparse } from "./sparse-memory.ts";

/** What is measured in which region. */
export interface AllocTask {
  readonly path: string;
  readonly ways: readonly AllocWay[];
  readonly rounds: number;
  readonly pairs: number;
}

/**
 * `claim`: take a page, claim it, withdraw the claim, give it back. `churn`: the same, but the page given back is a
 * random one of those that were claimed before. `ensure`: free and ensure a page of an instance, which zeroes it.
 * `zero`: nothing but zeroing pages, for comparison.
 */
export type AllocWay = "claim" | "churn" | "ensure" | "zero";

/** Nanoseconds a pair of allocation and free, one figure a round. */
export type AllocResult = Partial<Record<AllocWay, number[]>>;

/** Pages that `churn` draws from. */
const HELD_PAGES = 2 ** 16;
const SEED = 7;

const { path, ways, rounds, pairs } = childTask() as AllocTask;
const memory = openSparse(path);
const attached = attachMemory<OpenRegion>(memory);
const region = new PageRegion(memory, attached);
const { writer } = attached.handle.pages;
const instance = region.instance("bench", instanceName(0));
const { owner } = [...writer.core.instances.values()].find(({ record }) => record.name === instance.name) ?? {
  owner: 0,
};
const held = claimedPages(writer, HELD_PAGES);
const random = randomFrom(SEED);
const acts: Readonly<Record<AllocWay, (count: number) => void>> = { claim, churn, ensure, zero };

if (ways.includes("ensure")) touchFreePages(instance);
const result: AllocResult = {};
for (let round = 0; round <= rounds; round++) {
  for (const way of ways) {
    const began = process.hrtime.bigint();
    acts[way](pairs);
    const ns = Number(process.hrtime.bigint() - began) / pairs;
    if (round > 0) (result[way] ??= []).push(ns);
  }
}
finishChild(result);

function claim(count: number): void {
  // An index that the instance has no page at; no page table knows of it.
  const index = 2 ** 32 - 1;
  for (let k = 0; k < count; k++) {
    const page = writer.persist(writer.take());
    writer.claim(page, owner, kind.data, index, 0);
    writer.fence();
    writer.withdrawAndRelease(page);
  }
}

function churn(count: number): void {
  for (let k = 0; k < count; k++) {
    const slot = random() % held.length;
    const index = writer.indexOf(held[slot]);
    const heldOwner = ownerOf(writer.claimOf(held[slot]));
    writer.withdrawAndRelease(held[slot]);
    const page = writer.persist(writer.take());
    writer.claim(page, heldOwner, kind.data, index, 0);
    writer.fence();
    held[slot] = page;
  }
}

function ensure(count: number): void {
  for (let k = 0; k < count; k++) {
    instance.free(0);
    instance.ensure(0)[Symbol.dispose]();
  }
}

function zero(count: number): void {
  for (let k = 0; k < count; k++) {
    const page = writer.take();
    writer.zero(page);
    writer.untake(page);
  }
}

/** Makes the kernel give memory to every page that `ensure` may be handed. */
function touchFreePages(target: Instance): void {
  for (let k = region.info().freePages; k > 0; k--) {
    target.free(0);
    target.ensure(0)[Symbol.dispose]();
  }
}

/** Claimed pages from all over the region: of each of as many parts the first. */
function claimedPages(frames: FrameWriter, parts: number): Uint32Array {
  const found: number[] = [];
  const isData = (page: number): boolean => kindOf(frames.claimOf(page)) === kind.data;
  const { pages } = frames.core.shape;
  const stride = Math.ceil(pages / parts);
  for (let start = 0; start < pages; start += stride) {
    const end = Math.min(start + stride, pages);
    let page = start;
    while (page < end && !isData(page)) page++;
    if (page < end) found.push(page);
  }
  return Uint32Array.from(found);
}
