import { PerdureError, parseSize } from "../base/index.ts";
import type { InstanceInfo, PageRegion } from "../region/index.ts";
import { Disk, validateDiskSize } from "./disk.ts";

const SUBSYSTEM = "disk";

/** A disk that is wanted: by name, and by size if it must be made. */
export interface WantedDisk {
  readonly name: string;
  /** In bytes. */
  readonly sizeBytes: number;
}

/** One line of `disks.list()`. */
export interface DiskInfo {
  readonly name: string;
  readonly sizeBytes: number;
  /** Memory that its own blocks take. */
  readonly allocatedBytes: number;
  readonly created: Date;
  /** A snapshot. */
  readonly readOnly: boolean;
  /** The snapshot that it shares blocks with. */
  readonly parent: string | undefined;
}

/** One line of `disks.usage()`. */
export interface DiskUsage extends DiskInfo {
  /** Bytes that it shows and shares with the snapshots below it, where they are counted. */
  readonly sharedBytes: number;
}

/** The disks of a region: `pram0`, `pram1`, ... or any other name. */
export class Disks {
  readonly #region: PageRegion;

  constructor(region: PageRegion) {
    this.#region = region;
  }

  /**
   * Opens a disk. A disk that is there keeps the size that it has, whatever `size` says: compare `sizeBytes`.
   *
   * @throws ENOENT; with `create`: EINVAL (size), ENAMETOOLONG, ENOSPC, READ_ONLY
   */
  open(name: string, options: { create?: boolean; size?: number | string } = {}): Disk {
    if (options.create === true && !this.has(name)) {
      if (options.size === undefined)
        throw new PerdureError("EINVAL", `a disk that is created ("${name}") needs a size`);
      const sizeBytes = parseSize(options.size);
      validateDiskSize(sizeBytes);
      return new Disk(this.#region, this.#region.instance(SUBSYSTEM, name, { create: true, sizeBytes }));
    }
    return new Disk(this.#region, this.#region.instance(SUBSYSTEM, name));
  }

  has(name: string): boolean {
    return this.#region.list(SUBSYSTEM).some((disk) => disk.name === name);
  }

  list(): DiskInfo[] {
    return this.#region.list(SUBSYSTEM).map((info) => this.#describe(info));
  }

  /** As `list`, with what each disk shares; this walks through all blocks of clones and of disks with snapshots. */
  usage(): DiskUsage[] {
    const { pageBytes } = this.#region;
    return this.#region
      .usage(SUBSYSTEM)
      .map((info) => ({ ...this.#describe(info), sharedBytes: info.sharedPages * pageBytes }));
  }

  /** Deletes a disk; it can be undeleted until its blocks are needed. @throws ENOENT, EBUSY, READ_ONLY */
  remove(name: string): void {
    this.open(name).delete();
  }

  /** Deletes a disk for good, or frees the blocks of one that was deleted before. @throws ENOENT, EBUSY, READ_ONLY */
  purge(name: string): void {
    if (this.has(name)) this.open(name).purge();
    else this.#region.purge(SUBSYSTEM, name);
  }

  /** Brings back the disk of a name that was deleted last. @throws ENOENT, EEXIST (then say `as`), READ_ONLY */
  undelete(name: string, options: { as?: string } = {}): Disk {
    return new Disk(this.#region, this.#region.undelete(SUBSYSTEM, name, options));
  }

  #describe({ name, sizeBytes, pages, created, readOnly, parent }: InstanceInfo): DiskInfo {
    return { name, sizeBytes, allocatedBytes: pages * this.#region.pageBytes, created, readOnly, parent };
  }
}

/**
 * Reads a disk as options write it: `NAME=SIZE`.
 *
 * @throws EINVAL
 */
export function parseDisk(text: string): WantedDisk {
  const at = text.lastIndexOf("=");
  if (at <= 0) throw new PerdureError("EINVAL", `"${text}" is no disk: write NAME=SIZE, like pram0=512M`);
  const sizeBytes = parseSize(text.slice(at + 1));
  validateDiskSize(sizeBytes);
  return { name: text.slice(0, at), sizeBytes };
}

/**
 * Reads disks as the proposal's module parameter `prd_sizes` writes them (prmem, RFC v1, 8/10): a comma-separated list
 * of sizes makes pram0, pram1, and so on.
 *
 * @throws EINVAL
 */
export function parseDiskSizes(text: string): WantedDisk[] {
  return text.split(",").map((size, k) => parseDisk(`pram${k}=${size}`));
}
