import { isPerdureError, PerdureError } from "../base/index.ts";
import { Region } from "../index.ts";
import type { RegionOptions } from "../region/index.ts";

/**
 * Opens a region for reading, beside whoever writes to it.
 *
 * @throws what Region.open throws
 */
export function openForReading(source: string): Promise<Region> {
  return Region.open(source, { readOnly: true });
}

/**
 * Opens a region for writing.
 *
 * @throws what Region.open throws; LOCKED names the process that has it
 */
export async function openForWriting(source: string, options: RegionOptions = {}): Promise<Region> {
  try {
    return await Region.open(source, options);
  } catch (error) {
    throw isPerdureError(error, "LOCKED") ? await lockedBy(source, error) : error;
  }
}

/** Names the owner of a locked region, where it can be told. */
export async function lockedBy(source: string, error: PerdureError): Promise<PerdureError> {
  const owner = await runningOwner(source);
  if (owner === undefined) return error;
  return new PerdureError("LOCKED", `${source} is open for writing in process ${owner}`, {
    remedy: `stop that process first (kill ${owner}): it closes the region`,
  });
}

/** The process that has a region open, or undefined when there is none that can be told. */
export async function runningOwner(source: string): Promise<number | undefined> {
  try {
    using region = await openForReading(source);
    const { state, ownerPid } = region.info();
    return state === "open" ? ownerPid : undefined;
  } catch {
    return undefined;
  }
}
