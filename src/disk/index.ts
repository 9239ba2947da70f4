/** RAM disks that outlive their server (from prmem): `region.disks`. */
export { Disk } from "./disk.ts";
export { type DiskInfo, Disks, parseDisk, parseDiskSizes, type WantedDisk } from "./disks.ts";
