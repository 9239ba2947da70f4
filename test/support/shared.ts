// A disk that shares its pages with a snapshot, and what tests of layers ask of instances.

import type { Instance } from "../../src/region/index.ts";
import { freshRegion, type Trial } from "./region.ts";

export const PAGE = 512;

/** The first four bytes of a page, dots for zeroes. */
export function text(instance: Instance, index: number): string {
  return Buffer.from(instance.read(index)).toString("latin1", 0, 4).replaceAll("\0", ".");
}

/** The same of several pages. */
export function texts(instance: Instance, ...indices: number[]): string[] {
  return indices.map((index) => text(instance, index));
}

/** An instance of the tests by its name. */
export function find({ region }: Trial, name: string): Instance {
  return region.instance("test", name);
}

/** Names of all instances. */
export function names({ region }: Trial): string[] {
  return region.list().map(({ name }) => name);
}

/** How many free pages there are fewer after an act. */
export function pagesTaken({ region }: Trial, act: () => void): number {
  const before = region.info().freePages;
  act();
  return before - region.info().freePages;
}

/** What an instance "disk" of 6000 pages holds at 0, 1, 2 and 2048, and its snapshot "snap". */
export const old: readonly string[] = ["o0..", "o1..", "o2..", "o204"];

/** Makes both. */
export function shared(pages = 400): Trial & { disk: Instance; snap: Instance } {
  const trial = freshRegion(pages);
  const disk = trial.region.instance("test", "disk", { create: true, sizeBytes: 6000 * PAGE });
  for (const index of [0, 1, 2, 2048]) disk.write(index, Buffer.from(`o${index}`.slice(0, 4)));
  return { ...trial, disk, snap: disk.snapshot("snap") };
}
