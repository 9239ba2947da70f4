/** What a server serves and a disk is. */
export type { BlockDevice, Extent } from "./block-device.ts";
export type { DirectBlocks, JoinedDevice, JoinModule, SharedDevice } from "./direct-blocks.ts";
