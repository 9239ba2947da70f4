import { crc32, exactSize, isPerdureError, PerdureError } from "../base/index.ts";
import { superblockBytes } from "../format/index.ts";
import { type Memory, persist } from "../memory/index.ts";
import {
  formatVersion,
  type Geometry,
  geometryLayout,
  knownFeatures,
  maxTimeMs,
  oldestVersion,
  readOnlyFeatures,
} from "./layout.ts";

export const entryBytes = 8;
export const sealBytes = 4;
/** A close checksum covers this many bytes of the frame table. */
export const checksumBlockBytes = 4096;
/** The copy of the geometry stands this far before the end of the last page. */
export const geometryCopyBytes = 512;

export const defaultPageBytes = 4096;
const MIN_PAGE_BYTES = 512;
const MAX_PAGE_BYTES = 2 * 2 ** 20;
/** Raising the mark by 16384 pages writes 128 KiB of table and one record: seldom enough, and quick. */
export const defaultChunkPages = 16384;
/** Fewer pages hold no directory and no data beside their own metadata. */
const MIN_FREE_PAGES = 8;

/** What of the geometry decides where things stand. */
export interface Measures {
  readonly pageBytes: number;
  readonly pages: number;
  readonly chunkPages: number;
  /** Feature bits; none when left out. */
  readonly readOnlyCompatible?: number;
}

/** Where things stand, computed from page size, page count and features. Offsets and sizes in bytes. */
export class Shape {
  readonly pageBytes: number;
  readonly pages: number;
  readonly chunkPages: number;
  readonly tableOffset: number = superblockBytes;
  readonly tableBytes: number;
  readonly checksumsOffset: number;
  readonly checksums: number;
  /** Whether there is a seal table; without one it has no bytes. */
  readonly hasSeals: boolean;
  readonly sealsOffset: number;
  readonly sealsBytes: number;
  /** Features that this program does not know may have metadata pages of their own: a reader takes them as they are. */
  readonly hasUnknownParts: boolean;
  /** First page that is not metadata. */
  readonly firstPage: number;
  /** The last page holds the geometry copy. */
  readonly lastPage: number;
  /** How many indices one page of masks is for. */
  readonly masksPerPage: number;

  constructor(geometry: Measures) {
    const features = geometry.readOnlyCompatible ?? 0;
    this.pageBytes = geometry.pageBytes;
    this.pages = geometry.pages;
    this.chunkPages = geometry.chunkPages;
    this.tableBytes = this.pages * entryBytes;
    this.checksumsOffset = this.tableOffset + this.tableBytes;
    this.checksums = Math.ceil(this.tableBytes / checksumBlockBytes);
    this.hasSeals = (features & readOnlyFeatures.seals) !== 0;
    this.hasUnknownParts = (features & ~knownFeatures.readOnlyCompatible) !== 0;
    this.sealsOffset = this.checksumsOffset + 4 * this.checksums;
    this.sealsBytes = this.hasSeals ? this.pages * sealBytes : 0;
    this.firstPage = Math.ceil((this.sealsOffset + this.sealsBytes) / this.pageBytes);
    this.lastPage = this.pages - 1;
    this.masksPerPage = 4 * this.pageBytes;
  }

  pageOffset(page: number): number {
    return page * this.pageBytes;
  }

  entryOffset(page: number): number {
    return this.tableOffset + page * entryBytes;
  }

  sealOffset(page: number): number {
    return this.sealsOffset + page * sealBytes;
  }

  get geometryCopyOffset(): number {
    return this.pages * this.pageBytes - geometryCopyBytes;
  }

  isMetadata(page: number): boolean {
    return page < this.firstPage || page === this.lastPage;
  }
}

/** Refuses page sizes that the format does not know. @throws EINVAL */
export function validatePageBytes(pageBytes: number): void {
  const isPowerOfTwo = Number.isInteger(pageBytes) && (pageBytes & (pageBytes - 1)) === 0;
  if (!isPowerOfTwo || pageBytes < MIN_PAGE_BYTES || pageBytes > MAX_PAGE_BYTES) {
    throw new PerdureError("EINVAL", `a page size of ${pageBytes} is not a power of two from 512 to 2 MiB`);
  }
}

/** How many pages a range of `lengthBytes` has. @throws EINVAL when that is too few or too many */
export function pagesOf(lengthBytes: number, measures: Omit<Measures, "pages">): number {
  const { pageBytes, chunkPages } = measures;
  if (!Number.isInteger(chunkPages) || chunkPages < 1 || chunkPages >= 2 ** 32) {
    throw new PerdureError("EINVAL", `the mark is raised by a whole number of pages, not by ${chunkPages}`);
  }
  const pages = Math.floor(lengthBytes / pageBytes);
  if (pages >= 2 ** 32) throw new PerdureError("EINVAL", "a region has fewer than 2^32 pages: use larger pages");
  const shape = new Shape({ ...measures, pages });
  if (pages - shape.firstPage < MIN_FREE_PAGES) {
    throw new PerdureError(
      "EINVAL",
      `${exactSize(lengthBytes)} are too little for a region with pages of ${exactSize(pageBytes)}`,
    );
  }
  return pages;
}

// The type and the magic are written by the registry, so the sum leaves the first 12 bytes out.
const SUMMED_FROM = 12;

/** Makes the geometry's bytes with their CRC; magic and type stay zero. */
export function encodeGeometry(geometry: Omit<Geometry, "crc" | "magicLow" | "magicHigh" | "type">): Uint8Array {
  const encoded = geometryLayout.encode({ ...geometry, magicLow: 0, magicHigh: 0, type: 0 });
  geometryLayout.fields.crc.write(new DataView(encoded.buffer), sumOf(encoded));
  return encoded;
}

function sumOf(encoded: Uint8Array): number {
  return crc32(encoded.subarray(SUMMED_FROM, geometryLayout.fields.crc.offset));
}

function decodeGeometry(encoded: Uint8Array): Geometry | undefined {
  const geometry = geometryLayout.decode(encoded);
  return geometry.crc === sumOf(encoded) ? geometry : undefined;
}

/** The geometry of a region, and from where it is. */
export interface FoundGeometry {
  readonly geometry: Geometry;
  /** Its first place was damaged, and the copy used. */
  readonly fromCopy: boolean;
  /** An upgrade was killed after the copy was rewritten; the first place is half old, half new. */
  readonly isTornUpgrade: boolean;
  /** The copy is not that of the first place: an upgrade was killed before it began with that, or it is damaged. */
  readonly isCopyStale: boolean;
}

/**
 * Writes a geometry with another version in both of its places: the copy first, so that one of them counts at any time.
 * In the first place version and CRC change by one store each, since a reader looks at which of them are old.
 */
export function writeGeometry(memory: Memory, shape: Shape, geometry: Geometry): void {
  const encoded = encodeGeometry(geometry);
  writeGeometryCopy(memory, shape, encoded);
  const { version, crc } = geometryLayout.fields;
  for (const field of [version, crc]) memory.commit32(field.offset, field.read(new DataView(encoded.buffer)));
  persist(memory, 0, encoded.length);
}

/** Writes the copy of the geometry. */
export function writeGeometryCopy(memory: Memory, shape: Shape, encoded: Uint8Array): void {
  memory.fill(shape.geometryCopyOffset, encoded);
  persist(memory, shape.geometryCopyOffset, encoded.length);
}

/** True for a first place in which version and CRC are each that of the copy or that of an older version. */
function isTornUpgrade(found: Uint8Array, geometry: Geometry): boolean {
  const words = [geometryLayout.fields.version.offset, geometryLayout.fields.crc.offset];
  for (let version = oldestVersion; version < geometry.version; version++) {
    const [older, newer] = [version, geometry.version].map((one) => encodeGeometry({ ...geometry, version: one }));
    const isMixed = found.every((byte, at) => {
      if (at < SUMMED_FROM) return true;
      const word = words.find((offset) => at >= offset && at < offset + 4);
      if (word === undefined) return byte === newer[at];
      return [older, newer].some(
        (one) => Buffer.compare(one.subarray(word, word + 4), found.subarray(word, word + 4)) === 0,
      );
    });
    if (isMixed) return true;
  }
  return false;
}

/**
 * Reads the geometry and checks it against the true size of the memory: nothing that it says is believed before.
 *
 * @throws CORRUPT, UNSUPPORTED_VERSION
 */
export function readGeometry(memory: Memory): FoundGeometry {
  const { lengthBytes, source } = memory.ranges[0];
  if (memory.ranges.length > 1) throw new PerdureError("EINVAL", `${source}: a region has one range so far`);
  const head = memory.read(0, geometryLayout.sizeBytes);
  const first = decodeGeometry(head);
  const geometry = first ?? findCopy(memory);
  if (geometry === undefined) throw new PerdureError("CORRUPT", `${source}: the geometry and its copy are damaged`);
  if (geometry.version < oldestVersion || geometry.version > formatVersion) {
    throw new PerdureError(
      "UNSUPPORTED_VERSION",
      `${source} is of format version ${geometry.version}; this program knows ${oldestVersion} to ${formatVersion}`,
    );
  }
  const unknown = geometry.incompatible & ~knownFeatures.incompatible;
  if (unknown !== 0) {
    throw new PerdureError("UNSUPPORTED_VERSION", `${source} uses unknown features 0x${(unknown >>> 0).toString(16)}`);
  }
  if ((geometry.readOnlyCompatible & ~knownFeatures.readOnlyCompatible) !== 0 && !memory.readOnly) {
    throw new PerdureError("UNSUPPORTED_VERSION", `${source} uses features with which it can only be read`);
  }
  if (!isPossible(geometry, lengthBytes)) {
    throw new PerdureError(
      "CORRUPT",
      `${source}: ${geometry.pages} pages of ${exactSize(geometry.pageBytes)} do not fit its ${exactSize(lengthBytes)}`,
      {
        remedy:
          "bring back a copy of it; if a file was cut off, lengthen a copy (truncate -s) and `perdure check` that",
      },
    );
  }
  const isTorn = first === undefined && isTornUpgrade(head, geometry);
  const copy = memory.read(new Shape(geometry).geometryCopyOffset, geometryLayout.sizeBytes);
  const isCopyStale =
    first !== undefined && Buffer.compare(copy.subarray(SUMMED_FROM), head.subarray(SUMMED_FROM)) !== 0;
  return { geometry, fromCopy: first === undefined && !isTorn, isTornUpgrade: isTorn, isCopyStale };
}

function isPossible(geometry: Geometry, lengthBytes: number): boolean {
  try {
    validatePageBytes(geometry.pageBytes);
    const { pages, pageBytes, chunkPages, createdMs } = geometry;
    const fits = pages * pageBytes <= lengthBytes && pagesOf(pages * pageBytes, geometry) === pages;
    return fits && chunkPages > 0 && createdMs <= maxTimeMs;
  } catch (error) {
    // What is a wrong argument when a region is made is damage when it is found.
    if (isPerdureError(error, "EINVAL")) return false;
    throw error;
  }
}

// The copy ends the last page; where that is depends on the page size, which only the copy knows: try each.
function findCopy(memory: Memory): Geometry | undefined {
  const { lengthBytes } = memory.ranges[0];
  for (let pageBytes = MIN_PAGE_BYTES; pageBytes <= MAX_PAGE_BYTES; pageBytes *= 2) {
    const end = Math.floor(lengthBytes / pageBytes) * pageBytes;
    if (end < geometryCopyBytes) return undefined;
    const found = decodeGeometry(memory.read(end - geometryCopyBytes, geometryLayout.sizeBytes));
    if (found !== undefined && found.pageBytes === pageBytes) return found;
  }
  return undefined;
}
