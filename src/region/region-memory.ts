import { atOnce, isPerdureError, type LongOptions, PerdureError, parseSize, type Steps } from "../base/index.ts";
import {
  creatingMemory,
  formatTypeOf,
  formatting,
  isBlankInSteps,
  openingMemory,
  superblockHead,
} from "../format/index.ts";
import type { MappedMemory, Memory } from "../memory/index.ts";
import { readGeometry } from "./geometry.ts";
import { formatType } from "./layout.ts";
import { nativeFormat } from "./native-format.ts";
import { protectStart } from "./quarantine.ts";
import { isThin } from "./thin-chunks.ts";

/**
 * How a region is opened. Sizes are bytes or text such as `512M`. An open that is stopped has changed nothing in a
 * region; one that it had made by then, and one that it had put aside for that, stay so.
 */
export interface RegionOptions extends LongOptions {
  /** Make the region when there is nothing of that name; format what is blank, or whose format was cut off. */
  readonly create?: boolean;
  /** Size of a region that is created. */
  readonly size?: number | string;
  /** Page size of a region that is created: a power of two from 512 to 2 MiB, 4096 by default. */
  readonly pageSize?: number | string;
  /**
   * Allocate the backing memory of a region that is created as it is used, and give back what falls free. A full file
   * system is ENOSPC then when something is written, not when the region is made.
   */
  readonly thin?: boolean;
  /** Keep checksums of the content of pages in a region that is created: damage is found when a page is read. */
  readonly checksums?: boolean;
  readonly readOnly?: boolean;
  /** Write back with msync before an operation returns, so that on ext4 or xfs it outlives a power cut. Slow. */
  readonly durable?: boolean;
  /** Accept a file that belongs to another user or that others may write. */
  readonly trustFile?: boolean;
  /**
   * After so many failed starts in a row the region is not opened once more: with `create` it is put aside and a fresh
   * one made, else QUARANTINED is thrown. 0, the default, is never.
   */
  readonly quarantineAfter?: number;
  /** When a start that was not said to be healthy is taken for it, ms; 10,000 by default. */
  readonly healthyAfterMs?: number;
}

/** Who creates what another one is creating finds it ready; a file that comes and goes all the time is given up. */
const CREATE_TRIES = 3;

/**
 * Opens the memory of a source; with `create` what is not there is made, and what is blank, or was being formatted when
 * that was cut off, is formatted.
 *
 * @throws what Region.open throws, but for what the region itself holds
 */
export function* openingRegionMemory(source: string, options: RegionOptions): Steps<MappedMemory> {
  const creates = options.create === true && options.readOnly !== true;
  for (let tries = 1; ; tries++) {
    try {
      return yield* openingExisting(source, options, creates);
    } catch (error) {
      if (!creates || !isPerdureError(error, "ENOENT") || source.startsWith("fd:")) throw error;
    }
    if (options.size === undefined) throw new PerdureError("EINVAL", "a region that is created needs a size");
    try {
      return yield* creatingRegion(source, { ...options, size: options.size });
    } catch (error) {
      if (!isPerdureError(error, "EEXIST") || tries === CREATE_TRIES) throw error;
    }
  }
}

function* openingExisting(source: string, options: RegionOptions, creates: boolean): Steps<MappedMemory> {
  const memory = yield* openingMemory(source, { ...options, keepHoles: true });
  let done = false;
  try {
    const isBlank = creates && (yield* isBlankInSteps(memory));
    const thin = isBlank ? options.thin === true : isThinRegion(memory);
    if (!thin) yield* memory.fillHoles();
    // It was looked at just now, so nothing needs to look again.
    if (isBlank) yield* formatting(memory, formatOf(options), { force: true });
    const wanted = { ...options, thin };
    const opened = protectStart(memory, wanted, (fresh, beforePublish) => createRegion(source, fresh, beforePublish));
    done = true;
    return opened;
  } finally {
    if (!done) memory.close();
  }
}

/** True for what opens as a thin region, or does not open at all. */
function isThinRegion(memory: Memory): boolean {
  if (formatTypeOf(memory.read(0, superblockHead.sizeBytes)) !== formatType) return false;
  try {
    return isThin(readGeometry(memory).geometry);
  } catch (error) {
    if (isPerdureError(error)) return true;
    throw error;
  }
}

function formatOf({ pageSize, thin = false, checksums = false }: RegionOptions): ReturnType<typeof nativeFormat> {
  return nativeFormat({ thin, checksums, ...(pageSize === undefined ? {} : { pageBytes: parseSize(pageSize) }) });
}

type NewRegion = RegionOptions & { readonly size: number | string };

function creatingRegion(path: string, options: NewRegion, beforePublish?: () => void): Steps<MappedMemory> {
  const { durable = false, thin = false } = options;
  const before = beforePublish === undefined ? {} : { beforePublish };
  return creatingMemory(path, parseSize(options.size), formatOf(options), { durable, keepHoles: thin, ...before });
}

/**
 * Makes a file, formats it, and only then gives it its name: whatever happens before leaves nothing behind.
 *
 * @param beforePublish what must have happened when the region is there; may make room for its name
 * @throws EEXIST, EINVAL, ENOSPC, ENOENT (no such folder), EACCES, ENODEV
 */
export function createRegion(path: string, options: NewRegion, beforePublish?: () => void): MappedMemory {
  return atOnce(creatingRegion(path, options, beforePublish));
}
