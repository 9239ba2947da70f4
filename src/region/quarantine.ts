import { statfsSync, statSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { formatSize, isPerdureError, PerdureError, parseSize } from "../base/index.ts";
import type { MappedMemory, Memory } from "../memory/index.ts";
import { readGeometry } from "./geometry.ts";
import { failedStartsOf, type ProtectionOptions } from "./start-protection.ts";

/** What decides over a region whose starts fail. */
interface QuarantineOptions extends ProtectionOptions {
  readonly create?: boolean;
  readonly size?: number | string;
  readonly pageSize?: number | string;
  readonly thin?: boolean;
}

/** Makes a region of the same name: complete, then `beforePublish`, then the name. */
type MakeFresh<Options> = (
  options: Options & { readonly size: number | string; readonly pageSize: number | string },
  beforePublish: () => void,
) => MappedMemory;

/** Where the region was put aside for which a fresh memory stands: the media of neither tell. */
const asides = new WeakMap<Memory, string>();

/** Where the region was put aside for which this memory stands; undefined for every other memory. */
export function asideOf(memory: Memory): string | undefined {
  return asides.get(memory);
}

/**
 * Lets a memory pass unless its starts failed too often in a row. Then, with `create`, it gets another name and a fresh
 * region takes its place; otherwise it is refused. The caller holds the writer's lock, and nothing was stored yet.
 *
 * The fresh region is complete and has its room before the old one loses its name, and a name is never taken from
 * another file. A kill leaves:
 *
 *     before the rename        the old region under its name
 *     before the publication   the old region put aside, nothing under its name: the next start makes a fresh one
 *     after it                 the old region put aside, the fresh one under its name
 *
 * @throws QUARANTINED; ENOSPC when there is no room for both; EEXIST when another process took the name meanwhile
 */
export function protectStart<Options extends QuarantineOptions>(
  memory: MappedMemory,
  options: Options,
  makeFresh: MakeFresh<Options>,
): MappedMemory {
  const { quarantineAfter = 0, create = false } = options;
  if (quarantineAfter === 0 || memory.readOnly) return memory;
  const failed = failedStartsOf(memory);
  if (failed < quarantineAfter) return memory;
  const { source, lengthBytes, backing } = memory.ranges[0];
  const refusal = quarantineRefusal(source, failed);
  if (!create || !canBePutAside(source)) throw refusal;
  const { geometry } = readGeometry(memory);
  const size = parseSize(options.size ?? lengthBytes);
  // A thin one takes no more than its metadata, and is refused while it is made.
  if (options.thin !== true) refuseWithoutRoom(refusal, source, size);
  const aside = asideNameOf(source, new Date());
  const pageSize = options.pageSize ?? geometry.pageBytes;
  let isAside = false;
  try {
    const fresh = makeFresh({ ...options, size, pageSize }, () => {
      backing.rename(aside);
      isAside = true;
    });
    asides.set(fresh, aside);
    memory.close();
    return fresh;
  } catch (error) {
    throw isAside && isPerdureError(error) ? tellingOf(aside, error) : error;
  }
}

// Another process may have taken the name in between; nobody else knows what became of the region.
function tellingOf(aside: string, cause: PerdureError): PerdureError {
  const { code, message, remedy } = cause;
  return new PerdureError(code, `${message}; the region before was put aside as ${aside}`, { remedy, cause });
}

/** What is told of a region that is not opened once more. */
export function quarantineRefusal(source: string, failedStarts: number): PerdureError {
  const count = failedStarts === 1 ? "the last start" : `${failedStarts} starts in a row`;
  const message = `${count} of ${source} failed: the program died before it was healthy`;
  const asIs = "find out what ends the program; to use the region as it is pass --quarantine-after 0";
  return new PerdureError("QUARANTINED", message, {
    remedy: canBePutAside(source) ? `${asIs}, to have it put aside and a fresh one made --create` : asIs,
  });
}

/** A device has no second place, whatever its node is called, and a descriptor has no name. */
function canBePutAside(source: string): boolean {
  return !source.startsWith("fd:") && statSync(source, { throwIfNoEntry: false })?.isFile() === true;
}

// What is reserved and given back would meanwhile be missing to all others in that file system.
function refuseWithoutRoom(refusal: PerdureError, source: string, sizeBytes: number): void {
  const { bavail, bsize } = statfsSync(dirname(resolve(source)));
  const freeBytes = bavail * bsize;
  if (freeBytes >= sizeBytes) return;
  const [wanted, free] = [formatSize(sizeBytes), formatSize(freeBytes)];
  throw new PerdureError("ENOSPC", `${refusal.message}; a fresh one beside it needs ${wanted}, ${free} are free`, {
    remedy: "free memory, or move the file away; to use the region as it is pass --quarantine-after 0",
    cause: refusal,
  });
}

/** `shop.region.quarantine-20260131T235959.123Z`: sorts by time, and every shell and URI takes it. */
function asideNameOf(source: string, now: Date): string {
  return `${resolve(source)}.quarantine-${now.toISOString().replaceAll(/[-:]/g, "")}`;
}
