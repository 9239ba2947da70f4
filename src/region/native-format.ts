import { randomBytes } from "node:crypto";
import { atOnce, PerdureError, seal } from "../base/index.ts";
import { type Format, superblockBytes, superblockHead } from "../format/index.ts";
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
  writeGeometryCopy,
} from "./geometry.ts";
import {
  compatibleFeatures,
  formatType,
  formatVersion,
  type Geometry,
  readOnlyFeatures,
  regionState,
  stateLayout,
  stateSlots,
} from "./layout.ts";
import { OpenRegion } from "./open-region.ts";
import { writeFreshEntries } from "./state-record.ts";
import { allocateMetadata, isThin } from "./thin-chunks.ts";

/** Magic and type are the registry's. */
const headEnd = superblockHead.sizeBytes;

/** What is fixed for ever when a region is formatted. */
export interface FormatOptions {
  /** Page size in bytes: a power of two from 512 to 2 MiB; 4096 by default. */
  readonly pageBytes?: number;
  /** By how many pages the high-water mark is raised at a time. */
  readonly chunkPages?: number;
  /** Keep a checksum of the content of every page, in a seal table. */
  readonly checksums?: boolean;
  /** Allocate the backing chunk by chunk. */
  readonly thin?: boolean;
}

/** The native format: type 1 of the registry. */
export function nativeFormat(options: FormatOptions = {}): Format<OpenRegion> {
  const measures = {
    pageBytes: options.pageBytes ?? defaultPageBytes,
    chunkPages: options.chunkPages ?? defaultChunkPages,
    readOnlyCompatible: options.checksums === true ? readOnlyFeatures.seals : 0,
    compatible: options.thin === true ? compatibleFeatures.thin : 0,
  };
  return {
    type: formatType,
    name: "region",
    validate: (memory) => void shapeOf(memory, measures),
    format: (memory) => formatRegion(memory, measures),
    probe: (memory) => atOnce(OpenRegion.open(memory)),
    probeInSteps: (memory) => OpenRegion.open(memory),
    cleanup: (region) => region.close(),
  };
}

type Wanted = Required<Omit<Measures, "pages">> & Pick<Geometry, "compatible">;

function shapeOf(memory: Memory, wanted: Wanted): Shape {
  validatePageBytes(wanted.pageBytes);
  if (isThin(wanted) && memory.space === undefined) {
    throw new PerdureError("ENODEV", `${memory.ranges[0].source} has no holes: all of it is there anyway`, {
      remedy: "leave `thin` out; it is for files on tmpfs, ext4 or xfs and for memfds",
    });
  }
  return new Shape({ ...wanted, pages: pagesOf(memory.ranges[0].lengthBytes, wanted) });
}

function formatRegion(memory: Memory, wanted: Wanted): void {
  const shape = shapeOf(memory, wanted);
  const { chunkPages } = wanted;
  const { pages } = shape;
  const mark = Math.min(pages, Math.ceil(shape.firstPage / chunkPages) * chunkPages);
  if (isThin(wanted) && memory.space !== undefined) {
    // What was there is gone with its memory, so that nothing is stored into a hole below. The head says meanwhile that
    // the memory is being formatted.
    memory.space.punch(superblockBytes, memory.sizeBytes - superblockBytes);
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
    incompatible: 0,
    ...wanted,
    uuid: randomBytes(16),
    createdMs: Date.now(),
    pages,
  });
  writeGeometryCopy(memory, shape, geometry);
  memory.fill(headEnd, geometry.subarray(headEnd));
  persist(memory, headEnd, geometry.length - headEnd);
}

// Claims of an older region above the new mark would look like corruption, and old lives like ours.
function eraseOld(memory: Memory, shape: Shape): void {
  memory.zero(headEnd, superblockBytes - headEnd);
  const end = shape.tableOffset + shape.tableBytes;
  for (let offset = shape.tableOffset; offset < end; ) {
    const step = Math.min(end - offset, windowBytes - (offset % windowBytes));
    if (memory.read(offset, step).some((byte) => byte !== 0)) memory.zero(offset, step);
    offset += step;
  }
  memory.flush(0, end);
  memory.fence();
}
