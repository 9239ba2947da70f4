import type { JoinedDevice } from "../device/index.ts";
import { PageRegion, type RegionHandle } from "../region/index.ts";
import { Disk } from "./disk.ts";

/** What a disk gives to another thread. */
export interface SharedDisk {
  readonly region: RegionHandle;
  readonly subsystem: string;
  readonly name: string;
}

/** Regions that this thread has joined, by the numbers of their handles: each is joined once, for all its disks. */
const joined = new Map<number, { readonly region: PageRegion; users: number }>();

/**
 * Opens a disk that another thread of this process has open.
 *
 * @throws CLOSED, POISONED, ENOENT (it was deleted or renamed meanwhile), EBUSY (64 threads have the region open)
 */
export function joinDevice(data: unknown): JoinedDevice {
  const { region: handle, subsystem, name } = data as SharedDisk;
  const use = joined.get(handle.id) ?? { region: PageRegion.attach(handle), users: 0 };
  joined.set(handle.id, use);
  use.users++;
  const leave = (): void => {
    if (--use.users > 0) return;
    joined.delete(handle.id);
    use.region[Symbol.dispose]();
  };
  try {
    return { device: new Disk(use.region, use.region.instance(subsystem, name)), [Symbol.dispose]: leave };
  } catch (error) {
    leave();
    throw error;
  }
}
