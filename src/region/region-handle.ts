import { isMainThread } from "node:worker_threads";
import { PerdureError } from "../base/index.ts";
import type { Attached } from "../format/index.ts";
import { MappedMemory, type Memory, type SharedMemory } from "../memory/index.ts";
import type { Geometry, RegionStateRecord } from "./layout.ts";
import { nativeFormat } from "./native-format.ts";
import { OpenRegion, type StartReport } from "./open-region.ts";
import { joinParts, type SharedBuffers } from "./shared-parts.ts";
import { isThin } from "./thin-chunks.ts";

/**
 * An open region, for the worker threads of this process: it goes to them by `workerData` or `postMessage`, and
 * `Region.attach(handle)` opens it there. It is good until the owner closes the region.
 */
export interface RegionHandle {
  /** The same for all handles of one open region, and for those of no other one in this process. */
  readonly id: number;
  readonly memory: SharedMemory;
  readonly geometry: Geometry;
  readonly state: RegionStateRecord;
  readonly start: StartReport;
  readonly buffers: SharedBuffers;
}

/** True for what `share()` made. */
export function isRegionHandle(from: Memory | RegionHandle): from is RegionHandle {
  return "buffers" in from;
}

/** Makes the handle of a region. @throws READ_ONLY; EINVAL in a worker, or for a memory that threads cannot share */
export function shareRegion(memory: Memory, region: OpenRegion): RegionHandle {
  const refusal = refusalToShare(memory, region);
  if (refusal !== undefined) throw refusal;
  return { id: idOf(region), memory: (memory as MappedMemory).share(), ...region.share() };
}

/** Why the threads of this process cannot share a region; undefined when they can. */
export function refusalToShare(memory: Memory, region: OpenRegion): PerdureError | undefined {
  const { source } = region.core;
  if (memory.readOnly) {
    return new PerdureError("READ_ONLY", `${source} was opened read-only`, {
      remedy: "open it in the other thread, too: readers share nothing",
    });
  }
  if (isThin(region.core.geometry)) {
    return new PerdureError("EINVAL", `${source} is thin, and its chunks are known to one thread only`, {
      remedy: "make a region that is not thin and copy the data there",
    });
  }
  if (isMainThread && memory instanceof MappedMemory) return undefined;
  return new PerdureError("EINVAL", `${source} cannot be shared from here`, {
    remedy: "open it in the main thread and share it there: what a worker has open ends with that worker",
  });
}

/** Numbers of the regions that were shared; the main thread alone gives them. */
const ids = new WeakMap<OpenRegion, number>();
let lastId = 0;

function idOf(region: OpenRegion): number {
  const id = ids.get(region) ?? ++lastId;
  ids.set(region, id);
  return id;
}

/** Opens a shared region in this thread. @throws CLOSED, POISONED, EBUSY (64 threads have it open) */
export function joinRegion(handle: RegionHandle): { memory: Memory; attached: Attached<OpenRegion> } {
  // The parts first: what was closed is not there any longer to be touched.
  const shared = joinParts(handle.buffers, handle.geometry.pages);
  try {
    const memory = MappedMemory.join(handle.memory);
    const region = OpenRegion.join(memory, handle, shared);
    return { memory, attached: { format: nativeFormat(), handle: region, detach: () => region.close() } };
  } catch (error) {
    shared.threads.leave(shared.thread);
    throw error;
  }
}
