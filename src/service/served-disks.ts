import type { Disk } from "../index.ts";
import type { ExportOptions, NbdServer } from "../nbd/index.ts";
import type { Exports } from "./operations.ts";

/** The disks that an NBD server serves: all that the region has, or those that were named. */
export class ServedDisks implements Exports {
  readonly #server: NbdServer;
  /** Names to be served; undefined for all. */
  readonly #wanted: Set<string> | undefined;
  readonly #served: Set<string> = new Set();
  /** How disks are served, by the names that they have now. */
  readonly #options: Map<string, ExportOptions>;
  readonly #description: string;

  /** Serves disks from now on, and with `others` those that come later, too. */
  constructor(
    server: NbdServer,
    disks: readonly Disk[],
    options: { others: boolean; description: string; exports?: ReadonlyMap<string, ExportOptions> },
  ) {
    const { others, description, exports } = options;
    this.#server = server;
    this.#options = new Map(exports);
    this.#description = description;
    if (!others) this.#wanted = new Set(disks.map(({ name }) => name));
    for (const disk of disks) this.add(disk);
  }

  add(disk: Disk): void {
    if (this.#wanted?.has(disk.name) === false) return;
    this.#server.addExport(disk, { description: this.#description, ...this.#options.get(disk.name) });
    this.#served.add(disk.name);
  }

  async remove(disk: Disk, act: () => void): Promise<void> {
    const { name } = disk;
    const wasServed = this.#served.delete(name);
    if (wasServed) await this.#server.removeExport(name);
    try {
      act();
    } catch (error) {
      if (wasServed) this.add(disk);
      throw error;
    }
  }

  /** What is served stays so under its new name, and what is not is when its new name is wanted. */
  rename(from: string, disk: Disk): void {
    const { name } = disk;
    if (name === from) return;
    if (!this.#served.delete(from)) {
      this.add(disk);
      return;
    }
    this.#server.renameExport(from, name);
    this.#served.add(name);
    const options = this.#options.get(from);
    this.#options.delete(from);
    if (options !== undefined) this.#options.set(name, options);
    if (this.#wanted?.delete(from) === true) this.#wanted.add(name);
  }
}
