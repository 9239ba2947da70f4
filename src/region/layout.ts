import { bytes, type Decoded, Layout, text, u32, u32Array, u64 } from "../base/index.ts";

/**
 * Everything that the native format (type 1) keeps on media. `docs/format.md` prints these tables.
 *
 *     0          4096                                                          end - 512
 *     | superblock | frame table | close checksums | pages ...            pages | geometry copy |
 *
 * With the feature "seals" the seal table stands behind the close checksums: one u32 a page.
 */
export const formatType = 1;
export const formatVersion = 1;
/** Version 0 promised nothing, but it differs so little that it is opened, too; it has no layers. */
export const oldestVersion = 0;
/** Bits of `readOnlyCompatible`. A reader that does not know seals reads as if there were none. */
export const readOnlyFeatures = { seals: 1 } as const;
/** Feature words that this program knows; an unknown incompatible bit refuses the region. */
export const knownFeatures = { compatible: 0, readOnlyCompatible: readOnlyFeatures.seals, incompatible: 0 } as const;

/** Compatible features: a program that does not know them may use the region all the same. */
export const compatibleFeatures = {
  /** The backing is allocated chunk by chunk; who does not know that fills all holes first. */
  thin: 1,
} as const;

export const maxRanges = 16;
export const maxLives = 16;
/** Owner 1 is the region itself; instance records own from 2 on. Owners have 19 bits. */
export const regionOwner = 1;
export const firstOwner = 2;
export const maxOwner: number = 2 ** 19 - 1;
export const maxNameBytes = 255;
export const maxSubsystemBytes = 31;
export const attributeBytes = 96;

/** No region lives to see it; a sequence at or above it was forged, and would soon be no whole number any longer. */
export const maxSequence: number = 2 ** 52;
/** A writer counts on from what it finds: at or above these the next open would find what makes no sense. */
export const lastSequence: number = maxSequence - 2 ** 32;
export const lastGeneration: number = 2 ** 32 - 2;
/** The last moment that a Date can hold, ms since 1970. */
export const maxTimeMs = 8.64e15;

/** Where the parts of the superblock stand, in bytes. */
export const superblockOffsets = { geometry: 0, recordA: 512, recordB: 1024, lives: 2048, epochs: 3072 } as const;

/** The two slots of the record of the region's state. */
export const stateSlots = { a: superblockOffsets.recordA, b: superblockOffsets.recordB } as const;

/**
 * One word for each thread of the writer, odd while that thread changes something; for scans beside it. Written without
 * a flush, never believed by an open, and zeroed by the next writer.
 */
export const epochsLayout = new Layout("epochs", 256, {
  words: u32Array(0, 64, "epoch of thread 1 + 4 (k mod 16) + floor(k / 16) at word k"),
});

/** Never changes after format. A second copy stands in the last 512 bytes of the region. */
export const geometryLayout = new Layout("geometry", 128, {
  magicLow: u32(0, "low half of the magic, the superblock's own commit"),
  magicHigh: u32(4, "high half"),
  type: u32(8, "format type: 1"),
  version: u32(12, "format version: 1; version 0 has no layers, quotas and deleted instances"),
  compatible: u32(16, "feature bits that an old program may ignore"),
  readOnlyCompatible: u32(20, "feature bits without which a program may only read"),
  incompatible: u32(24, "feature bits without which a program must refuse"),
  pageBytes: u32(28, "page size: a power of two from 512 to 2 MiB"),
  uuid: bytes(32, 16, "random identity of the region"),
  createdMs: u64(48, "time of format, ms since 1970"),
  pages: u32(56, "pages of range 0, those of its metadata included"),
  chunkPages: u32(60, "by how many pages the high-water mark is raised"),
  crc: u32(64, "CRC-32 of bytes 12 to 63"),
});

/** Half of the superblock's dual record: what changes. */
export const stateLayout = new Layout("region state", 512, {
  sequence: u64(0, "region-wide sequence of this version of the record"),
  generation: u32(8, "attaches by a writer so far"),
  state: u32(12, "1 open, 2 closed, 3 being repaired"),
  failedStarts: u32(16, "opens in a row of which none was healthy: closed, or said to go well"),
  ranges: u32(20, "number of ranges: 1"),
  pages: u32(24, "number of pages over all ranges"),
  ownerPid: u32(28, "process of the last writer, for messages only"),
  ownerStartTicks: u64(32, "its start, clock ticks since boot, for messages only"),
  bootId: bytes(40, 16, "boot of the machine it ran in, for messages only"),
  marks: u32Array(56, maxRanges, "high-water mark of each range: pages below it have frame entries"),
  checksumsCrc: u32(120, "CRC-32 of the close checksums, when closed"),
  recordsCrc: u32(124, "CRC-32 of bytes 0 to 507 of every instance record that counts, in order, when closed"),
  masksCrc: u32(128, "CRC-32 of the pages of masks, in order of their page numbers, when closed"),
  crc: u32(508, "CRC-32 of bytes 0 to 507"),
});
/** While it is being repaired nobody opens it: a repair that was cut off is begun anew. */
export const regionState = { open: 1, closed: 2, repairing: 3 } as const;

/** One of the last 16 generations, at `lives + 64 * (generation mod 16)`. A torn one is dropped. */
export const lifeLayout = new Layout("life", 64, {
  generation: u32(0, "which generation this was"),
  pid: u32(4, "process that wrote"),
  openedMs: u64(8, "time of its open, ms since 1970"),
  closedMs: u64(16, "time of its close, ms since 1970; 0 while open and after a crash"),
  start: u32(24, "how it started: 1 warm, 2 recovered, 3 cold"),
  reason: u32(28, "reason code of the start"),
  bootId: bytes(32, 16, "boot of the machine"),
  crc: u32(60, "CRC-32 of bytes 0 to 59"),
});

/** Half of an instance's dual record. Record r stands at byte 1024 r of the directory and belongs to owner r + 2. */
export const recordLayout = new Layout("instance record", 512, {
  sequence: u64(0, "region-wide sequence of this version of the record"),
  state: u32(8, "0 free, 1 pending, 2 live, 3 deleting, 4 deleted"),
  owner: u32(12, "its own owner number"),
  parent: u32(16, "owner of the layer below, 0 for none"),
  schema: u32(24, "schema number of the program that owns the data"),
  flags: u32(28, "bit 0: read-only, a snapshot"),
  sizeBytes: u64(32, "pages at an index of ceil(size / page size) or above do not belong to it"),
  quotaMinPages: u64(40, "pages guaranteed"),
  quotaMaxPages: u64(48, "pages at most, 0 for no limit"),
  createdMs: u64(56, "time of creation, ms since 1970"),
  changedMs: u64(64, "time of the last change of this record"),
  source: u32(72, "pending only: owner to whom its pages go back if it is never committed, 0 for none"),
  subsystem: text(76, 32, "subsystem, UTF-8"),
  name: text(108, 256, "name, UTF-8"),
  attributes: bytes(364, attributeBytes, "belongs to the subsystem"),
  successor: u32(460, "of a snapshot: the pending layer that takes its old name over, 0 for none"),
  reach: u64(464, "index at or above which the parent is not asked"),
  deletedMs: u64(472, "time at which it was deleted, ms since 1970; 0 when it is not"),
  crc: u32(508, "CRC-32 of bytes 0 to 507"),
});
/**
 * - `pending`: has no name yet; every open drops it
 * - `deleting`: its pages go; with several children it stays, hidden, until one is left
 * - `deleted`: has no name any longer, and stays until it is undeleted or its pages are needed
 */
export const recordState = { free: 0, pending: 1, live: 2, deleting: 3, deleted: 4 } as const;
export const recordFlags = { readOnly: 1 } as const;
export const recordBytes: number = 2 * recordLayout.sizeBytes;

export type Geometry = Decoded<typeof geometryLayout.fields>;
export type RegionStateRecord = Decoded<typeof stateLayout.fields>;
export type InstanceRecord = Decoded<typeof recordLayout.fields>;
