/** A shared region in recorded memory, as another thread has it. */
import { nativeFormat, OpenRegion, PageRegion } from "../../src/region/index.ts";
import type { RegionHandle } from "../../src/region/region-handle.ts";
import { joinParts } from "../../src/region/shared-parts.ts";
import type { RecordingMemory } from "../../src/testing/index.ts";

/** What `share` gives away, without the memory: recorded memory is shared by other means than mappings. */
export type SharedHandle = Omit<RegionHandle, "id" | "memory">;

/** A thread's use of a region. */
export interface JoinedRegion {
  readonly region: PageRegion;
  readonly handle: OpenRegion;
}

/** Joins a region as `Region.attach` does, through a memory that is there already. */
export function joinRecorded(memory: RecordingMemory, shared: SharedHandle): JoinedRegion {
  const parts = joinParts(shared.buffers, shared.geometry.pages);
  const handle = OpenRegion.join(memory, shared as RegionHandle, parts);
  const attached = { format: nativeFormat(), handle, detach: (): void => handle.close() };
  return { region: new PageRegion(memory, attached), handle };
}
