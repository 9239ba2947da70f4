import type { Instance } from "./instance.ts";
import type { Quota } from "./instance-operations.ts";
import type { InstanceState } from "./instance-state.ts";

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
  /**
   * Make a pending one a layer over the instance of its name: it shows what that holds, and replaces it, whole, when it
   * is published. Until then the other one does not change.
   */
  readonly over?: boolean;
  /** How many pages it is guaranteed, and how many it may have (0: no limit). */
  readonly quota?: Partial<Quota>;
  /** Called when what is stored has an older or other schema number; its number is stored when it returns. */
  readonly migrate?: (instance: Instance, from: number) => void;
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
  /** A snapshot. */
  readonly readOnly: boolean;
  /** The snapshot that it shares pages with. */
  readonly parent: string | undefined;
  readonly quota: Quota;
}

/** One line of `usage()`, in pages. */
export interface InstanceUsage extends InstanceInfo {
  /** Pages that it shares with the snapshots below it, where they are counted. */
  readonly sharedPages: number;
}

/** An instance that was deleted and whose pages were not needed yet. */
export interface DeletedInstance extends InstanceInfo {
  readonly deleted: Date;
}

/** One line about an instance. */
export function infoOf({ owner, record, pages, maskPages, parent, isReadOnly }: InstanceState): InstanceInfo {
  return {
    subsystem: record.subsystem,
    name: record.name,
    owner,
    sizeBytes: record.sizeBytes,
    pages: pages + maskPages,
    schema: record.schema,
    created: new Date(record.createdMs),
    readOnly: isReadOnly,
    parent: parent === undefined || parent.deleted ? undefined : parent.record.name,
    quota: { minPages: record.quotaMinPages, maxPages: record.quotaMaxPages },
  };
}

/** Order of lists: by subsystem and name. */
export function byNames(a: InstanceInfo, b: InstanceInfo): number {
  return a.subsystem.localeCompare(b.subsystem) || a.name.localeCompare(b.name);
}
