import type { Survival } from "../memory/index.ts";
import { formatType } from "./layout.ts";
import { type Life, lastOwnerOf, type RegionUse, readLives, useOf } from "./lives.ts";
import type { OpenRegion } from "./open-region.ts";
import { isThin } from "./thin-chunks.ts";

/** What `info()` tells. */
export interface RegionInfo {
  readonly source: string;
  readonly state: RegionUse;
  /** The last process that wrote; undefined when there was none. */
  readonly ownerPid: number | undefined;
  readonly format: number;
  readonly version: number;
  readonly uuid: string;
  readonly created: Date;
  readonly pageBytes: number;
  readonly pages: number;
  readonly freePages: number;
  /** Pages that only overwriting may use, so that a full region still takes new content for what it holds. */
  readonly reservePages: number;
  /** Pages that instances are guaranteed and do not have yet. */
  readonly promisedPages: number;
  /** Pages of deleted instances: they are taken when there are no free ones. */
  readonly deletedPages: number;
  /** Pages of snapshots that were purged while several layers stand on them: those share them until one is left. */
  readonly hiddenPages: number;
  readonly metadataPages: number;
  /** The backing is allocated as it is used. */
  readonly thin: boolean;
  /** What the backing holds now. */
  readonly backedBytes: number;
  /** Whether content has checksums. */
  readonly checksums: boolean;
  readonly instances: number;
  readonly survival: Survival;
  readonly lives: readonly Life[];
}

/** What a region is, how full it is, and who had it open. */
export function describeRegion({ core, memory }: OpenRegion): RegionInfo {
  core.refuseUnusable();
  const { geometry } = core;
  return {
    source: core.source,
    state: useOf(memory, core.state),
    ownerPid: lastOwnerOf(core.state),
    format: formatType,
    version: geometry.version,
    uuid: uuidText(geometry.uuid),
    created: new Date(geometry.createdMs),
    pageBytes: geometry.pageBytes,
    pages: geometry.pages,
    freePages: core.freeCount,
    reservePages: core.reservePages,
    promisedPages: core.promised,
    deletedPages: core.deletedPages,
    hiddenPages: core.hiddenPages,
    metadataPages: core.shape.firstPage + 1,
    checksums: core.shape.hasSeals,
    thin: isThin(geometry),
    backedBytes: memory.space?.allocatedBytes ?? memory.sizeBytes,
    instances: core.byName.size,
    survival: memory.survival,
    lives: readLives(memory, core.state),
  };
}

function uuidText(bytes: Uint8Array): string {
  const hex = Buffer.from(bytes).toString("hex");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}
