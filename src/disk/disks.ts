import { PerdureError, parseSize } from "../base/index.ts";
import type { PageRegion } from "../region/index.ts";
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
  readonly allocatedBytes: number;
  readonly created: Date;
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
    const { pageBytes } = this.#region;
    return this.#region.list(SUBSYSTEM).map(({ name, sizeBytes, pages, created }) => ({
      name,
      sizeBytes,
      allocatedBytes: pages * pageBytes,
      created,
    }));
  }

  /** Deletes a disk and frees all its pages. @throws ENOENT, EBUSY, READ_ONLY */
  remove(name: string): void {
    this.open(name).delete();
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
