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
import { type Attached, attaching } from "../format/index.ts";
import type { Memory } from "../memory/index.ts";
import { Instance } from "./instance.ts";
import {
  byNames,
  type DeletedInstance,
  type InstanceInfo,
  type InstanceOptions,
  type InstanceUsage,
  infoOf,
} from "./instance-info.ts";
import { refuseBadQuota } from "./instance-operations.ts";
import type { InstanceState } from "./instance-state.ts";
import { attributeBytes, formatType, recordState } from "./layout.ts";
import type { OpenRegion, StartReport } from "./open-region.ts";
import { maxSizeOf, nameKey } from "./records.ts";
import { isRegionHandle, joinRegion, type RegionHandle, refusalToShare, shareRegion } from "./region-handle.ts";
import { describeRegion, type RegionInfo } from "./region-info.ts";
import { openingRegionMemory, type RegionOptions } from "./region-memory.ts";
import { type ScrubOptions, type ScrubReport, scrubRegion } from "./scrub.ts";
import { HealthTimer, validateProtection } from "./start-protection.ts";

/** A memory in the native format, opened. */
export class PageRegion implements Disposable {
  readonly #attached: Attached<OpenRegion>;
  readonly #memory: Memory;
  #healthTimer: HealthTimer | undefined;

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
   * UNSUPPORTED_VERSION, CORRUPT, QUARANTINED, EIO, ABORTED
   */
  static async open<T extends PageRegion>(
    this: new (
      memory: Memory,
      attached: Attached<OpenRegion>,
    ) => T,
    source: string,
    options: RegionOptions = {},
  ): Promise<T> {
    validateProtection(options);
    const memory = await inTurns(openingRegionMemory(source, options), options);
    try {
      const region = new this(memory, await attachWhenSound(memory, options));
      region.#takeForHealthyLater(options);
      return region;
    } catch (error) {
      memory.close();
      throw error;
    }
  }

  #takeForHealthyLater(options: RegionOptions): void {
    this.#healthTimer = new HealthTimer(() => this.healthy(), options);
  }

  /**
   * Opens a region that another thread of this process has open and shared; or the region in a memory that the caller
   * made, and then closing the region closes the memory.
   *
   * @throws CLOSED, POISONED, EBUSY (64 threads have it open); with a memory what `open` throws
   */
  static attach<T extends PageRegion>(
    this: new (
      memory: Memory,
      attached: Attached<OpenRegion>,
    ) => T,
    from: Memory | RegionHandle,
  ): T {
    if (!isRegionHandle(from)) return new this(from, atOnce(attachNative(from)));
    const { memory, attached } = joinRegion(from);
    return new this(memory, attached);
  }

  /**
   * Makes a handle with which the worker threads of this process open the region by `Region.attach(handle)`; it goes to
   * them by `workerData` or `postMessage`. All of them may read and write everything. Only the main thread shares.
   *
   * A thread that ends while it changes something (by `worker.terminate()`, by an exception that the operation did not
   * expect, without memory) poisons the region for all of them; it is noticed at the latest when another has waited for
   * it for a second, or when the owner closes.
   *
   * @throws READ_ONLY, EINVAL, CLOSED, POISONED
   */
  share(): RegionHandle {
    return shareRegion(this.#memory, this.#attached.handle);
  }

  /** Whether `share` can work: in the main thread, for a mapped memory that is open for writing and not thin. */
  get isShareable(): boolean {
    return refusalToShare(this.#memory, this.#attached.handle) === undefined;
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
    for (;;) {
      const present = core.byName.get(nameKey(subsystem, name));
      if (present !== undefined && options.pending !== true) {
        const instance = new Instance(this.#attached.handle, present);
        this.#settleSchema(instance, present, options);
        return instance;
      }
      if (options.create !== true && options.pending !== true) {
        throw new PerdureError("ENOENT", `there is no ${subsystem} of the name "${name}" in ${this.source}`);
      }
      try {
        return new Instance(this.#attached.handle, this.#create(subsystem, name, options));
      } catch (error) {
        // Another thread was quicker: what it has made is opened.
        if (options.pending === true || !isPerdureError(error, "EEXIST")) throw error;
      }
    }
  }

  #create(subsystem: string, name: string, options: InstanceOptions): InstanceState {
    const { handle } = this.#attached;
    const { core } = handle;
    if (this.readOnly) throw new PerdureError("READ_ONLY", `${this.source} was opened read-only`);
    const attributes = options.attributes ?? new Uint8Array(0);
    if (attributes.length > attributeBytes) {
      throw new PerdureError("EINVAL", `attributes have at most ${attributeBytes} bytes, not ${attributes.length}`);
    }
    const schema = options.schema ?? 0;
    refuseBadSchema(schema);
    const unbounded = maxSizeOf(core.shape.pageBytes);
    const { source } = options;
    const quota = { minPages: 0, maxPages: 0, ...options.quota };
    refuseBadQuota(quota);
    const wanted = {
      subsystem,
      name,
      sizeBytes: parseSize(options.sizeBytes ?? unbounded),
      schema,
      attributes,
      pending: options.pending ?? false,
      source: source === undefined ? 0 : this.#ownerOf(source.subsystem, source.name),
      quotaMinPages: quota.minPages,
      quotaMaxPages: quota.maxPages,
    };
    return handle.withRoom(() => handle.layers.create(wanted, { over: options.over ?? false }));
  }

  #settleSchema(instance: Instance, state: InstanceState, { schema, migrate }: InstanceOptions): void {
    const from = state.record.schema;
    if (schema === undefined || schema === from) return;
    if (migrate === undefined || this.readOnly) refuseSchema(state, schema);
    else {
      refuseBadSchema(schema);
      migrate(instance, from);
      this.#attached.handle.instances.setSchema(state, schema);
    }
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
      .map(infoOf)
      .sort(byNames);
  }

  /** As `list`, with the pages that are shared; this walks through all pages of layers. */
  usage(subsystem?: string): InstanceUsage[] {
    return this.list(subsystem).map((info) => ({
      ...info,
      sharedPages: this.instance(info.subsystem, info.name).countShared(),
    }));
  }

  /** The instances that were deleted and whose pages were not needed yet, the newest first. */
  deleted(subsystem?: string): DeletedInstance[] {
    const { core } = this.#attached.handle;
    core.refuseUnusable();
    return Array.from(core.instances.values())
      .filter(({ record }) => record.state === recordState.deleted)
      .filter(({ record }) => subsystem === undefined || record.subsystem === subsystem)
      .map((state) => ({ ...infoOf(state), deleted: new Date(state.record.deletedMs) }))
      .sort((a, b) => b.deleted.getTime() - a.deleted.getTime() || b.owner - a.owner);
  }

  /**
   * Brings back a deleted instance; of several of one name the one that was deleted last.
   *
   * @throws ENOENT when there is none (any longer), EEXIST when its name was taken: then say `as`; READ_ONLY, ENOSPC
   */
  undelete(subsystem: string, name: string, options: { as?: string } = {}): Instance {
    const { handle } = this.#attached;
    const found = this.#deletedState(subsystem, name);
    handle.layers.undelete(found, options.as ?? name);
    return new Instance(handle, found);
  }

  /** Frees the pages of a deleted instance now. @throws ENOENT, READ_ONLY */
  purge(subsystem: string, name: string): void {
    this.#attached.handle.layers.purge(this.#deletedState(subsystem, name));
  }

  #deletedState(subsystem: string, name: string): InstanceState {
    const info = this.deleted(subsystem).find((one) => one.name === name);
    const found = info === undefined ? undefined : this.#attached.handle.core.instances.get(info.owner);
    if (found !== undefined) return found;
    throw new PerdureError("ENOENT", `${this.source} keeps no deleted ${subsystem} of the name "${name}"`, {
      remedy: "list what is kept with `perdure ls --deleted`: what is not there was purged, or its memory was needed",
    });
  }

  info(): RegionInfo {
    return describeRegion(this.#attached.handle);
  }

  /**
   * Compares the content of every page with its checksum. Goes on in turns of the event loop, beside other work.
   *
   * @throws EINVAL (the region has no checksums), ENOENT (an instance that is asked for is not there), EIO, CLOSED; the
   * reason of `signal`
   */
  async scrub(options: ScrubOptions = {}): Promise<ScrubReport> {
    return scrubRegion(this.#attached.handle, options);
  }

  /**
   * Raises a region of format version 0 to this version, so that it can have layers, quotas and deleted instances.
   * Nothing else in it changes. Programs that know only version 0 cannot open it any longer.
   *
   * @throws READ_ONLY, POISONED, EIO
   */
  upgrade(): void {
    this.#attached.handle.upgrade();
  }

  /**
   * Makes everything durable as far as the backing can, and looks whether another writer took the region over.
   *
   * @throws EIO, POISONED, MEMORY_LOST; ENOENT when the file was deleted: nothing is lost yet, all of it with the close
   */
  sync(): void {
    const { handle } = this.#attached;
    try {
      handle.refuseForeign();
      this.#memory.sync();
    } catch (error) {
      throw handle.core.failed(error);
    }
  }

  /**
   * Says that this start went well: a program whose later crash shall not count as a failed start. A region that was
   * opened by its name takes itself for healthy after `healthyAfterMs`.
   *
   * @throws EIO, POISONED, CLOSED
   */
  healthy(): void {
    this.#attached.handle.healthy();
  }

  /**
   * Ends the use of the region: the next start is warm. Views that were handed out are empty from now on.
   *
   * @throws EBUSY while pages are held; then nothing was closed. EIO, POISONED: the end could not be written, so the
   * next open recovers the region; its file and its lock are given up even so
   */
  async close(): Promise<void> {
    this[Symbol.dispose]();
  }

  [Symbol.dispose](): void {
    try {
      this.#attached.detach();
    } catch (error) {
      // A refusal leaves it open, and so does a file that lost its name: it can be copied still. What failed would hold
      // its lock for nothing, since it can only be opened anew.
      const isKept = isPerdureError(error, "EBUSY") || isPerdureError(error, "ENOENT");
      if (!isKept && this.#attached.handle.core.isPoisoned) this.#memory.close();
      throw error;
    }
    this.#healthTimer?.stop();
    this.#memory.close();
  }
}

/** A scan beside a writer at work can meet it in the middle of a change; it does not meet it every time. */
const READ_TRIES = 5;
const READ_PAUSE_MS = 50;
/** A writer that is always at work lets no scan stand still: then the first sound one has to do. */
const STILL_TRIES = 3;

async function attachWhenSound(memory: Memory, options: LongOptions): Promise<Attached<OpenRegion>> {
  for (let tries = 1; ; tries++) {
    try {
      const attached = await inTurns(attachNative(memory), options);
      if (!attached.handle.start.provisional || tries >= STILL_TRIES) return attached;
      attached.detach();
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

function refuseBadSchema(schema: number): void {
  if (Number.isInteger(schema) && schema >= 0 && schema < 2 ** 32) return;
  throw new PerdureError("EINVAL", `a schema number is a whole number below 2^32, not ${schema}`);
}

function refuseSchema(state: InstanceState, schema: number): never {
  const { subsystem, name } = state.record;
  throw new PerdureError(
    "SCHEMA_MISMATCH",
    `the ${subsystem} "${name}" has schema ${state.record.schema}, not ${schema}`,
  );
}
