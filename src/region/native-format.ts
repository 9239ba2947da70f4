import { randomBytes } from "node:crypto";
import { atOnce, PerdureError, seal } from "../base/index.ts";
import type { Format } from "../format/index.ts";
import { type Memory, persist, windowBytes } from "../memory/index.ts";
import { writeDual } from "./dual-record.ts";
import { defaultChunkPages, defaultPageBytes, encodeGeometry, pagesOf, Shape, validatePageBytes } from "./geometry.ts";
import {
  compatibleFeatures,
  formatType,
  formatVersion,
  knownFeatures,
  lifeLayout,
  maxLives,
  regionState,
  stateLayout,
  stateSlots,
  superblockOffsets,
} from "./layout.ts";
import { OpenRegion } from "./open-region.ts";
import { writeFreshEntries } from "./state-record.ts";
import { allocateMetadata } from "./thin-chunks.ts";

/** What is fixed for ever when a region is formatted. */
export interface FormatOptions {
  /** Page size in bytes: a power of two from 512 to 2 MiB; 4096 by default. */
  readonly pageBytes?: number;
  /** By how many pages the high-water mark is raised at a time. */
  readonly chunkPages?: number;
  /** Allocate the backing chunk by chunk. */
  readonly thin?: boolean;
}

interface Plan {
  readonly pageBytes: number;
  readonly chunkPages: number;
  readonly thin: boolean;
}

/** The native format: type 1 of the registry. */
export function nativeFormat(options: FormatOptions = {}): Format<OpenRegion> {
  const plan = { pageBytes: defaultPageBytes, chunkPages: defaultChunkPages, thin: false, ...options };
  return {
    type: formatType,
    name: "region",
    validate: (memory) => void shapeOf(memory, plan),
    format: (memory) => formatRegion(memory, plan),
    probe: (memory) => atOnce(OpenRegion.open(memory)),
    probeInSteps: (memory) => OpenRegion.open(memory),
    cleanup: (region) => region.close(),
  };
}

function shapeOf(memory: Memory, { pageBytes, chunkPages, thin }: Plan): Shape {
  validatePageBytes(pageBytes);
  if (thin && memory.space === undefined) {
    throw new PerdureError("ENODEV", `${memory.ranges[0].source} has no holes: all of it is there anyway`, {
      remedy: "leave `thin` out; it is for files on tmpfs, ext4 or xfs and for memfds",
    });
  }
  return new Shape({ pageBytes, pages: pagesOf(memory.ranges[0].lengthBytes, pageBytes, chunkPages), chunkPages });
}

function formatRegion(memory: Memory, plan: Plan): void {
  const { pageBytes, chunkPages } = plan;
  const shape = shapeOf(memory, plan);
  const { pages } = shape;
  const mark = Math.min(pages, Math.ceil(shape.firstPage / chunkPages) * chunkPages);
  if (plan.thin && memory.space !== undefined) {
    // What was there is gone with its memory, so that nothing is stored into a hole below.
    memory.space.punch(0, memory.sizeBytes);
    allocateMetadata(memory.space, shape, mark);
  }
  eraseOld(memory, shape);
  writeFreshEntries(memory, shape, 0, mark);
  const state = stateLayout.encode({
    sequence: 1,
    state: regionState.closed,
    ranges: 1,
    pages,
    marks: [mark],
  });
  writeDual(memory, stateSlots.a, stateSlots.b, seal(state, stateLayout.fields.crc));
  const geometry = encodeGeometry({
    version: formatVersion,
    ...knownFeatures,
    compatible: plan.thin ? compatibleFeatures.thin : 0,
    pageBytes,
    uuid: randomBytes(16),
    createdMs: Date.now(),
    pages,
    chunkPages,
  });
  memory.fill(shape.geometryCopyOffset, geometry);
  persist(memory, shape.geometryCopyOffset, geometry.length);
  memory.fill(superblockOffsets.geometry, geometry);
  persist(memory, superblockOffsets.geometry, geometry.length);
}

// Claims of an older region above the new mark would look like corruption, and old lives like ours.
function eraseOld(memory: Memory, shape: Shape): void {
  memory.zero(superblockOffsets.lives, maxLives * lifeLayout.sizeBytes);
  const end = shape.tableOffset + shape.tableBytes;
  for (let offset = shape.tableOffset; offset < end; ) {
    const step = Math.min(end - offset, windowBytes - (offset % windowBytes));
    if (memory.read(offset, step).some((byte) => byte !== 0)) memory.zero(offset, step);
    offset += step;
  }
  memory.flush(0, end);
  memory.fence();
}
