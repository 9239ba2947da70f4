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
 * @throws what Region.open throws
 */
export function openForWriting(source: string, options: RegionOptions = {}): Promise<Region> {
  return Region.open(source, options);
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
