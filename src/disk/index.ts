/** RAM disks that outlive their server, after the proposal prmem. */
export { Disk } from "./disk.ts";
export { type DiskInfo, Disks, type DiskUsage, parseDisk, parseDiskSizes, type WantedDisk } from "./disks.ts";
