import { PerdureError } from "../base/index.ts";
import type { BlockDevice } from "../device/index.ts";
import { Access, type AllowList } from "./access.ts";
import { maxStringBytes } from "./limits.ts";
import { EXPORT_FLAG } from "./protocol.ts";
import { ReadOnlyDevice } from "./read-only-device.ts";
import { type Bucket, bucketsOf, cellsOfLimits, checkTrafficLimits, type TrafficLimits } from "./throttle.ts";

/** How a device is served. */
export interface ExportOptions {
  /** The name by which clients ask for it, by default that of the device. */
  readonly name?: string;
  /** For people. */
  readonly description?: string;
  /** Clients may not change it, even if the device could be changed. */
  readonly readOnly?: boolean;
  /** Who may open it, of those who may connect: everybody by default. To others it is ERR_POLICY, and not listed. */
  readonly allow?: AllowList;
  /** What all its clients may take together. */
  readonly limits?: TrafficLimits;
}

/** All that is told of an export but its device: it can be posted to another thread, which then serves it the same. */
export interface ExportTerms extends ExportOptions {
  readonly name: string;
  readonly description: string;
  /** From 1 on; no other export of the server ever has it. */
  readonly number: number;
  /** The state of its buckets. */
  readonly state: SharedArrayBuffer;
}

/** @throws EINVAL for limits that are none */
export function exportTerms(device: BlockDevice, options: ExportOptions, number: number): ExportTerms {
  checkTrafficLimits(options.limits);
  const state = new SharedArrayBuffer(cellsOfLimits * BigInt64Array.BYTES_PER_ELEMENT);
  return { ...options, name: options.name ?? device.name, description: options.description ?? "", number, state };
}

/** @throws EINVAL for an allow-list that is none */
export function makeExport(terms: ExportTerms, device: BlockDevice): Export {
  const { name, description, readOnly = false, number, allow, limits, state } = terms;
  return {
    name,
    description,
    device: readOnly ? new ReadOnlyDevice(device) : device,
    number,
    access: new Access(allow),
    limits,
    buckets: bucketsOf(limits, new BigInt64Array(state), 0),
  };
}

/** A device under the name by which clients ask for it. */
export interface Export {
  /** May change while clients use it. */
  name: string;
  /** For people; may be empty. */
  readonly description: string;
  readonly device: BlockDevice;
  readonly number?: number;
  /** Who may open it; everybody where it is left out. */
  readonly access?: Access;
  readonly limits?: TrafficLimits | undefined;
  /** Of its limits. */
  readonly buckets?: { readonly bytes: readonly Bucket[]; readonly requests: readonly Bucket[] };
}

/** The exports of a server by name. */
export class ExportTable {
  readonly #byName: Map<string, Export> = new Map();
  /** Names that are served, but by another thread. */
  readonly elsewhere: Set<string> = new Set();

  get count(): number {
    return this.#byName.size;
  }

  /** @throws EINVAL for a name or description that the protocol cannot carry, EEXIST when the name is taken */
  add(entry: Export): void {
    checkText("description", entry.description);
    this.#refuseName(entry.name);
    this.#byName.set(entry.name, entry);
  }

  /** @throws ENOENT when there is no export of that name */
  remove(name: string): Export {
    const entry = this.#byName.get(name);
    if (entry === undefined) throw new PerdureError("ENOENT", `no export is named "${name}"`);
    this.#byName.delete(name);
    return entry;
  }

  /** Whoever has the export open keeps it. @throws ENOENT; EINVAL, EEXIST as `add` */
  rename(from: string, to: string): Export {
    this.#refuseName(to);
    const entry = this.remove(from);
    entry.name = to;
    this.#byName.set(to, entry);
    return entry;
  }

  has(name: string): boolean {
    return this.#byName.has(name);
  }

  /** The export that a client means. The empty name asks for the default: the only export, if there is just one. */
  find(name: string): Export | undefined {
    const exact = this.#byName.get(name);
    if (exact !== undefined || name !== "" || this.#byName.size !== 1) return exact;
    return this.#byName.values().next().value;
  }

  /** Whether a name may mean an export of another thread. The empty one does as soon as there are any. */
  isElsewhere(name: string): boolean {
    return this.elsewhere.size > 0 && (name === "" || !this.#byName.has(name));
  }

  [Symbol.iterator](): Iterator<Export> {
    return this.#byName.values();
  }

  #refuseName(name: string): void {
    checkText("name", name);
    if (!this.#byName.has(name)) return;
    throw new PerdureError("EEXIST", `an export named "${name}" is served already`, {
      remedy: "choose another name, or remove that export first",
    });
  }
}

function checkText(what: string, text: string): void {
  if (Buffer.byteLength(text) > maxStringBytes || text.includes("\0")) {
    throw new PerdureError("EINVAL", `the ${what} of an export is at most ${maxStringBytes} bytes without NUL`, {
      remedy: `give the export a shorter ${what}`,
    });
  }
}

/** What of the agreement so far decides what the export can do for this client. */
export interface FlagTerms {
  /** READ is answered in chunks. */
  readonly structured: boolean;
  /** BLOCK_STATUS may name the contexts that it asks about. */
  readonly statusPayload: boolean;
}

/** What the export can do, as transmission flags. */
export function exportFlags(device: BlockDevice, terms: FlagTerms): number {
  const changes = device.readOnly
    ? EXPORT_FLAG.READ_ONLY
    : EXPORT_FLAG.SEND_TRIM | EXPORT_FLAG.SEND_WRITE_ZEROES | EXPORT_FLAG.SEND_FAST_ZERO;
  return (
    EXPORT_FLAG.HAS_FLAGS |
    EXPORT_FLAG.SEND_FLUSH |
    EXPORT_FLAG.SEND_FUA |
    EXPORT_FLAG.SEND_CACHE |
    // True without effort: all connections see one device, whose calls are complete when they return.
    EXPORT_FLAG.CAN_MULTI_CONN |
    (terms.structured ? EXPORT_FLAG.SEND_DF : 0) |
    (terms.statusPayload ? EXPORT_FLAG.BLOCK_STATUS_PAYLOAD : 0) |
    changes
  );
}
