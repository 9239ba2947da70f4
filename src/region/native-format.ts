import { randomBytes } from "node:crypto";
import { seal } from "../base/index.ts";
import type { Format } from "../format/index.ts";
import { type Memory, persist, windowBytes } from "../memory/index.ts";
import { writeDual } from "./dual-record.ts";
import {
  defaultChunkPages,
  defaultPageBytes,
  encodeGeometry,
  type Measures,
  pagesOf,
  Shape,
  validatePageBytes,
} from "./geometry.ts";
import {
  formatType,
  formatVersion,
  lifeLayout,
  maxLives,
  readOnlyFeatures,
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
  /** Keep a checksum of the content of every page, in a seal table. */
  readonly checksums?: boolean;
}

/** The native format: type 1 of the registry. */
export function nativeFormat(options: FormatOptions = {}): Format<OpenRegion> {
  const measures = {
    pageBytes: options.pageBytes ?? defaultPageBytes,
    chunkPages: options.chunkPages ?? defaultChunkPages,
    readOnlyCompatible: options.checksums === true ? readOnlyFeatures.seals : 0,
  };
  return {
    type: formatType,
    name: "region",
    validate: (memory) => void shapeOf(memory, measures),
    format: (memory) => formatRegion(memory, measures),
    probe: (memory) => OpenRegion.open(memory),
    cleanup: (region) => region.close(),
  };
}

type Wanted = Required<Omit<Measures, "pages">>;

function shapeOf(memory: Memory, wanted: Wanted): Shape {
  validatePageBytes(wanted.pageBytes);
  return new Shape({ ...wanted, pages: pagesOf(memory.ranges[0].lengthBytes, wanted) });
}

function formatRegion(memory: Memory, wanted: Wanted): void {
  const shape = shapeOf(memory, wanted);
  const { chunkPages } = wanted;
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
    compatible: 0,
    incompatible: 0,
    ...wanted,
    uuid: randomBytes(16),
    createdMs: Date.now(),
    pages,
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
