/** What a server serves and a disk is. */
export type { BlockDevice, Extent } from "./block-device.ts";
