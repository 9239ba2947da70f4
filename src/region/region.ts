import { setTimeout as sleep } from "node:timers/promises";
import {
  atOnce,
  inTurns,
  isPerdureError,
  type LongOptions,
  PerdureError,
  parseSize,
  type Steps,
} from "../base/index.ts";
import {
  type Attached,
  attaching,
  creatingMemory,
  formatTypeOf,
  formatting,
  isBlankInSteps,
  openingMemory,
  superblockHead,
} from "../format/index.ts";
import type { MappedMemory, Memory, Survival } from "../memory/index.ts";
import type { InstanceState } from "./core.ts";
import { readGeometry } from "./geometry.ts";
import { Instance } from "./instance.ts";
import { attributeBytes, formatType, formatVersion } from "./layout.ts";
import { type Life, lastOwnerOf, type RegionUse, readLives, useOf } from "./lives.ts";
import { nativeFormat } from "./native-format.ts";
import type { OpenRegion, StartReport } from "./open-region.ts";
import { maxSizeOf, nameKey } from "./records.ts";
import { isThin } from "./thin-chunks.ts";

/** How a region is opened. Sizes are bytes or text such as `512M`. An open that is stopped has changed nothing. */
export interface RegionOptions extends LongOptions {
  /** Make and format the region when there is nothing of that name. */
  readonly create?: boolean;
  /** Size of a region that is created. */
  readonly size?: number | string;
  /** Page size of a region that is created: a power of two from 512 to 2 MiB, 4096 by default. */
  readonly pageSize?: number | string;
  /**
   * Allocate the backing memory of a region that is created as it is used, and give back what falls free. A full file
   * system is ENOSPC then when something is written, not when the region is made.
   */
  readonly thin?: boolean;
  readonly readOnly?: boolean;
  /** Write back with msync before an operation returns, so that on ext4 or xfs it outlives a power cut. Slow. */
  readonly durable?: boolean;
  /** Accept a file that belongs to another user or that others may write. */
  readonly trustFile?: boolean;
}

/** How an instance is opened. */
export interface InstanceOptions {
  readonly create?: boolean;
  /** Size of a new instance in bytes; without it there is no bound but the region's. */
  readonly sizeBytes?: number;
  /** Schema number of the program: a mismatch with what is stored is an error. */
  readonly schema?: number;
  readonly attributes?: Uint8Array;
  /** Make it under its name only when `publish()` is called; until then every open drops it. */
  readonly pending?: boolean;
  /** The instance to which pages of a pending one go back if it is never published. */
  readonly source?: { readonly subsystem: string; readonly name: string };
}

/** One line of `list()`. */
export interface InstanceInfo {
  readonly subsystem: string;
  readonly name: string;
  readonly owner: number;
  readonly sizeBytes: number;
  readonly pages: number;
  readonly schema: number;
  readonly created: Date;
}

/** What `info()` tells. */
export interface RegionInfo {
  readonly source: string;
  readonly state: RegionUse;
  /** The last process that wrote; undefined when there was none. */
  readonly ownerPid: number | undefined;
  readonly format: number;
  readonly version: number;
  readonly uuid: string;
  readonly created: Date;
  readonly pageBytes: number;
  readonly pages: number;
  readonly freePages: number;
  /** Pages that only overwriting may use, so that a full region still takes new content for what it holds. */
  readonly reservePages: number;
  readonly metadataPages: number;
  /** The backing is allocated as it is used. */
  readonly thin: boolean;
  /** What the backing holds now. */
  readonly backedBytes: number;
  readonly instances: number;
  readonly survival: Survival;
  readonly lives: readonly Life[];
}

/** A memory in the native format, opened. */
export class PageRegion implements Disposable {
  readonly #attached: Attached<OpenRegion>;
  readonly #memory: Memory;

  /** For `open` and `attach`; programs use those. */
  constructor(memory: Memory, attached: Attached<OpenRegion>) {
    this.#memory = memory;
    this.#attached = attached;
  }

  /**
   * Opens a region: a file on tmpfs, ext4 or xfs, a /dev/daxN.M device, or an inherited descriptor (`fd:N`).
   * Opening is recovering: whatever ended the last owner, what it had finished is there.
   *
   * @throws ENOENT, EINVAL, ENOSPC, EACCES, ENODEV, LOCKED, UNFORMATTED, FOREIGN_DATA, UNKNOWN_FORMAT,
   * UNSUPPORTED_VERSION, CORRUPT, EIO, ABORTED
   */
  static async open<T extends PageRegion>(
    this: new (
      memory: Memory,
      attached: Attached<OpenRegion>,
    ) => T,
    source: string,
    options: RegionOptions = {},
  ): Promise<T> {
    const memory = await inTurns(opening(source, options), options);
    try {
      return new this(memory, await attachWhenSound(memory, options));
    } catch (error) {
      memory.close();
      throw error;
    }
  }

  /** Opens the region in a memory that the caller made; closing the region closes the memory. */
  static attach<T extends PageRegion>(
    this: new (
      memory: Memory,
      attached: Attached<OpenRegion>,
    ) => T,
    memory: Memory,
  ): T {
    return new this(memory, atOnce(attachNative(memory)));
  }

  /** How this open went. */
  get start(): StartReport {
    return this.#attached.handle.start;
  }

  get source(): string {
    return this.#attached.handle.core.source;
  }

  get pageBytes(): number {
    return this.#attached.handle.core.shape.pageBytes;
  }

  get readOnly(): boolean {
    return this.#memory.readOnly;
  }

  /**
   * Opens an instance by name.
   *
   * @throws ENOENT, SCHEMA_MISMATCH; with `create`: READ_ONLY, ENAMETOOLONG, ENOSPC, EINVAL
   */
  instance(subsystem: string, name: string, options: InstanceOptions = {}): Instance {
    const { core } = this.#attached.handle;
    core.refuseUnusable();
    const present = core.byName.get(nameKey(subsystem, name));
    if (present !== undefined && options.pending !== true) {
      refuseSchema(present, options.schema);
      return new Instance(this.#attached.handle, present);
    }
    if (options.create !== true && options.pending !== true) {
      throw new PerdureError("ENOENT", `there is no ${subsystem} of the name "${name}" in ${this.source}`);
    }
    return new Instance(this.#attached.handle, this.#create(subsystem, name, options));
  }

  #create(subsystem: string, name: string, options: InstanceOptions): InstanceState {
    const { core, instances } = this.#attached.handle;
    if (this.readOnly) throw new PerdureError("READ_ONLY", `${this.source} was opened read-only`);
    const attributes = options.attributes ?? new Uint8Array(0);
    if (attributes.length > attributeBytes) {
      throw new PerdureError("EINVAL", `attributes have at most ${attributeBytes} bytes, not ${attributes.length}`);
    }
    const schema = options.schema ?? 0;
    if (!Number.isInteger(schema) || schema < 0 || schema >= 2 ** 32) {
      throw new PerdureError("EINVAL", `a schema number is a whole number below 2^32, not ${schema}`);
    }
    const unbounded = maxSizeOf(core.shape.pageBytes);
    const { source } = options;
    return instances.directory.create({
      subsystem,
      name,
      sizeBytes: parseSize(options.sizeBytes ?? unbounded),
      schema,
      attributes,
      pending: options.pending ?? false,
      source: source === undefined ? 0 : this.#ownerOf(source.subsystem, source.name),
    });
  }

  #ownerOf(subsystem: string, name: string): number {
    const found = this.#attached.handle.core.byName.get(nameKey(subsystem, name));
    if (found === undefined) throw new PerdureError("ENOENT", `there is no ${subsystem} of the name "${name}"`);
    return found.owner;
  }

  /** Every instance, or those of one subsystem, by subsystem and name. */
  list(subsystem?: string): InstanceInfo[] {
    const { core } = this.#attached.handle;
    core.refuseUnusable();
    return Array.from(core.byName.values())
      .filter(({ record }) => subsystem === undefined || record.subsystem === subsystem)
      .map(({ owner, record, pages }) => ({
        subsystem: record.subsystem,
        name: record.name,
        owner,
        sizeBytes: record.sizeBytes,
        pages,
        schema: record.schema,
        created: new Date(record.createdMs),
      }))
      .sort((a, b) => a.subsystem.localeCompare(b.subsystem) || a.name.localeCompare(b.name));
  }

  info(): RegionInfo {
    const { core } = this.#attached.handle;
    core.refuseUnusable();
    const { geometry } = core;
    return {
      source: core.source,
      state: useOf(this.#memory, core.state),
      ownerPid: lastOwnerOf(core.state),
      format: formatType,
      version: formatVersion,
      uuid: uuidText(geometry.uuid),
      created: new Date(geometry.createdMs),
      pageBytes: geometry.pageBytes,
      pages: geometry.pages,
      freePages: core.freeCount,
      reservePages: core.reservePages,
      metadataPages: core.shape.firstPage + 1,
      thin: isThin(geometry),
      backedBytes: this.#memory.space?.allocatedBytes ?? this.#memory.sizeBytes,
      instances: core.byName.size,
      survival: this.#memory.survival,
      lives: readLives(this.#memory, core.state),
    };
  }

  /**
   * Makes everything durable as far as the backing can, and looks whether another writer took the region over.
   *
   * @throws EIO, POISONED
   */
  sync(): void {
    const { handle } = this.#attached;
    handle.refuseForeign();
    try {
      this.#memory.sync();
    } catch (error) {
      throw handle.core.failed(error);
    }
  }

  /**
   * Ends the use of the region: the next start is warm. Views that were handed out are empty from now on.
   *
   * @throws EBUSY while pages are held; then nothing was closed
   */
  async close(): Promise<void> {
    this[Symbol.dispose]();
  }

  [Symbol.dispose](): void {
    this.#attached.detach();
    this.#memory.close();
  }
}

/** Opens the memory of a source; with `create` what is not there is made, and what is blank is formatted. */
function* opening(source: string, options: RegionOptions): Steps<MappedMemory> {
  const creates = options.create === true && options.readOnly !== true;
  let memory: MappedMemory;
  try {
    memory = yield* openingMemory(source, { ...options, keepHoles: true });
  } catch (error) {
    if (!creates || !isPerdureError(error, "ENOENT") || source.startsWith("fd:")) throw error;
    if (options.size === undefined) throw new PerdureError("EINVAL", "a region that is created needs a size");
    return yield* creatingRegion(source, { ...options, size: options.size });
  }
  let done = false;
  try {
    const isBlank = creates && (yield* isBlankInSteps(memory));
    if (!(isBlank ? options.thin === true : isThinRegion(memory))) yield* memory.fillHoles();
    // It was looked at just now, so nothing needs to look again.
    if (isBlank) yield* formatting(memory, formatOf(options), { force: true });
    done = true;
    return memory;
  } finally {
    if (!done) memory.close();
  }
}

/** True for what opens as a thin region, or does not open at all. */
function isThinRegion(memory: Memory): boolean {
  if (formatTypeOf(memory.read(0, superblockHead.sizeBytes)) !== formatType) return false;
  try {
    return isThin(readGeometry(memory).geometry);
  } catch (error) {
    if (isPerdureError(error)) return true;
    throw error;
  }
}

function formatOf({ pageSize, thin = false }: RegionOptions): ReturnType<typeof nativeFormat> {
  return nativeFormat({ thin, ...(pageSize === undefined ? {} : { pageBytes: parseSize(pageSize) }) });
}

type NewRegion = RegionOptions & { readonly size: number | string };

function creatingRegion(path: string, options: NewRegion): Steps<MappedMemory> {
  const { durable = false, thin = false } = options;
  return creatingMemory(path, parseSize(options.size), formatOf(options), { durable, keepHoles: thin });
}

/**
 * Makes and formats the file of a region.
 *
 * @throws EEXIST, EINVAL, ENOSPC, ENOENT (no such folder), EACCES, ENODEV
 */
export function createRegion(path: string, options: NewRegion): MappedMemory {
  return atOnce(creatingRegion(path, options));
}

/** A scan beside a writer at work can meet it in the middle of a change; it does not meet it every time. */
const READ_TRIES = 5;
const READ_PAUSE_MS = 50;

async function attachWhenSound(memory: Memory, options: LongOptions): Promise<Attached<OpenRegion>> {
  for (let tries = 1; ; tries++) {
    try {
      return await inTurns(attachNative(memory), options);
    } catch (error) {
      if (!isPerdureError(error, "CORRUPT") || !memory.readOnly || !memory.hasWriter) throw error;
      if (tries === READ_TRIES) throw beingChanged(memory.ranges[0].source, error);
    }
    await sleep(READ_PAUSE_MS * tries);
  }
}

function beingChanged(source: string, cause: PerdureError): PerdureError {
  return new PerdureError("EBUSY", `${source} is being changed by its writer`, {
    remedy: "try again in a moment; if it stays so, run `perdure check` when the writer has stopped",
    cause,
  });
}

function* attachNative(memory: Memory): Steps<Attached<OpenRegion>> {
  const attached = yield* attaching<OpenRegion>(memory);
  if (attached.format.type === formatType) return attached;
  attached.detach();
  throw new PerdureError(
    "UNKNOWN_FORMAT",
    `${memory.ranges[0].source} is of the format "${attached.format.name}", no region`,
    { remedy: "use the programs of that format; `perdure info --plugin FILE` describes the memory" },
  );
}

function refuseSchema(state: InstanceState, schema: number | undefined): void {
  if (schema === undefined || schema === state.record.schema) return;
  const { subsystem, name } = state.record;
  throw new PerdureError(
    "SCHEMA_MISMATCH",
    `the ${subsystem} "${name}" has schema ${state.record.schema}, not ${schema}`,
  );
}

function uuidText(bytes: Uint8Array): string {
  const hex = Buffer.from(bytes).toString("hex");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}
