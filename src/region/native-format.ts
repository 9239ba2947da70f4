import { randomBytes } from "node:crypto";
import { atOnce, seal } from "../base/index.ts";
import type { Format } from "../format/index.ts";
import { type Memory, persist, windowBytes } from "../memory/index.ts";
import { writeDual } from "./dual-record.ts";
import { defaultChunkPages, defaultPageBytes, encodeGeometry, pagesOf, Shape, validatePageBytes } from "./geometry.ts";
import {
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

/** What is fixed for ever when a region is formatted. */
export interface FormatOptions {
  /** Page size in bytes: a power of two from 512 to 2 MiB; 4096 by default. */
  readonly pageBytes?: number;
  /** By how many pages the high-water mark is raised at a time. */
  readonly chunkPages?: number;
}

/** The native format: type 1 of the registry. */
export function nativeFormat(options: FormatOptions = {}): Format<OpenRegion> {
  const pageBytes = options.pageBytes ?? defaultPageBytes;
  const chunkPages = options.chunkPages ?? defaultChunkPages;
  return {
    type: formatType,
    name: "region",
    validate: (memory) => void shapeOf(memory, pageBytes, chunkPages),
    format: (memory) => formatRegion(memory, pageBytes, chunkPages),
    probe: (memory) => atOnce(OpenRegion.open(memory)),
    probeInSteps: (memory) => OpenRegion.open(memory),
    cleanup: (region) => region.close(),
  };
}

function shapeOf(memory: Memory, pageBytes: number, chunkPages: number): Shape {
  validatePageBytes(pageBytes);
  return new Shape({ pageBytes, pages: pagesOf(memory.ranges[0].lengthBytes, pageBytes, chunkPages), chunkPages });
}

function formatRegion(memory: Memory, pageBytes: number, chunkPages: number): void {
  const shape = shapeOf(memory, pageBytes, chunkPages);
  const { pages } = shape;
  eraseOld(memory, shape);
  const mark = Math.min(pages, Math.ceil(shape.firstPage / chunkPages) * chunkPages);
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
