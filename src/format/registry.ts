import { atOnce, isPerdureError, PerdureError, type Steps } from "../base/index.ts";
import type { Memory } from "../memory/index.ts";
import { describeForeignData, isAllZero } from "./foreign-data.ts";
import {
  formatTypeOf,
  hasFormattingMark,
  hasOddParity,
  superblockBytes,
  superblockHead,
  writeFormattingMark,
  writeMagic,
  writeType,
} from "./superblock.ts";

/**
 * A plug-in that owns a memory's layout, after `struct kmem_persist_ops` of the proposal "device-dax: kmem
 * persistence" (RFC 2022, 2/4): it can format, probe and clean up.
 */
export interface Format<Handle = unknown> {
  /** Number in the superblock, of odd parity; 1 is the native format. */
  readonly type: number;
  readonly name: string;
  /** Refuses, before anything is stored, a memory on which it cannot lay itself out. */
  validate?(memory: Memory): void;
  /** Lays an empty format out. Bytes 0-11 of the superblock belong to the registry, which writes the magic last. */
  format(memory: Memory): void;
  /** Opens what is there. A failed probe must leave nothing held. */
  probe(memory: Memory): Handle;
  /** The same in steps, where it takes long: it can be watched then, and stopped. */
  probeInSteps?(memory: Memory): Steps<Handle>;
  /** Ends the use of a handle. When it throws, the memory stays attached. */
  cleanup(handle: Handle): void;
  /** What `perdure info` prints of a memory of this format. */
  describe?(handle: Handle): Facts;
}

/** Labels with their values, in the order in which they are shown. */
export type Facts = Readonly<Record<string, string | number>>;

interface Registered {
  readonly format: Format;
  uses: number;
}

const formats = new Map<number, Registered>();

/** Makes a format known. @throws EINVAL for a type of even parity; EEXIST when the type is taken */
export function registerFormat(format: Format): void {
  if (!Number.isInteger(format.type) || format.type >>> 0 !== format.type || !hasOddParity(format.type)) {
    throw new PerdureError("EINVAL", `format type ${format.type} is no u32 of odd parity (1, 2, 4, 7, 8, 11, ...)`);
  }
  const known = formats.get(format.type);
  if (known !== undefined) {
    throw new PerdureError("EEXIST", `format type ${format.type} is registered already, as "${known.format.name}"`);
  }
  formats.set(format.type, { format, uses: 0 });
}

/** Forgets a format. @throws ENOENT when it is not known; EBUSY while a memory is attached through it */
export function unregisterFormat(type: number): void {
  const known = registered(type, "ENOENT");
  if (known.uses > 0) {
    throw new PerdureError("EBUSY", `the format "${known.format.name}" is in use by ${known.uses} attached memories`);
  }
  formats.delete(type);
}

/** Number and name of every registered format. */
export function listFormats(): readonly { type: number; name: string }[] {
  return Array.from(formats.values(), ({ format }) => ({ type: format.type, name: format.name }));
}

/** The registered format of a name or number, as people write it. @throws UNKNOWN_FORMAT, naming those there are */
export function findFormat(wanted: string): Format {
  const all = Array.from(formats.values(), ({ format }) => format);
  const found = all.find(({ type, name }) => wanted === name || wanted === String(type));
  if (found !== undefined) return found;
  const names = all.map(({ type, name }) => `${type} (${name})`).join(", ");
  throw new PerdureError("UNKNOWN_FORMAT", `no registered format is called "${wanted}"`, {
    remedy: `choose from: ${names}; or register another one (on the command line: --plugin FILE)`,
  });
}

/** A memory opened by its format. */
export interface Attached<Handle> {
  readonly format: Format<Handle>;
  readonly handle: Handle;
  /** Cleans up and lets the format go. When the format's cleanup throws, the memory stays attached. */
  detach(): void;
}

/**
 * Formats a memory. Only blank memory is formatted, unless forced; one whose format was cut off counts as blank.
 *
 * @throws UNKNOWN_FORMAT, READ_ONLY, EEXIST (it holds a format already), FOREIGN_DATA
 */
export function formatMemory(memory: Memory, type: number | Format, options: { force?: boolean } = {}): void {
  atOnce(formatting(memory, type, options));
}

/** `formatMemory` in steps. */
export function* formatting(memory: Memory, type: number | Format, options: { force?: boolean } = {}): Steps<void> {
  const format = typeof type === "number" ? registered(type, "UNKNOWN_FORMAT").format : type;
  if (memory.readOnly) throw new PerdureError("READ_ONLY", "a memory that was opened read-only cannot be formatted");
  if (options.force !== true) yield* refusingData(memory);
  format.validate?.(memory);
  // Where holes were kept, even the superblock may be one.
  memory.space?.allocate(0, superblockBytes);
  // Durable before the first byte of the format: what a kill leaves is never taken for somebody else's data.
  writeFormattingMark(memory);
  memory.flush(0, superblockBytes);
  memory.fence();
  format.format(memory);
  writeType(memory, format.type);
  memory.flush(0, superblockBytes);
  memory.fence();
  writeMagic(memory);
  memory.flush(0, superblockBytes);
  memory.fence();
  const written = formatTypeOf(memory.read(0, superblockHead.sizeBytes));
  if (written !== format.type) throw new PerdureError("EIO", `formatting left no superblock of type ${format.type}`);
}

/**
 * Opens a memory with the format that its superblock names.
 *
 * @throws UNFORMATTED (blank, or its format was cut off), FOREIGN_DATA, UNKNOWN_FORMAT, and whatever the format's
 * probe throws
 */
export function attachMemory<Handle>(memory: Memory): Attached<Handle> {
  const known = formatOf(memory);
  return attached(known, (known.format as Format<Handle>).probe(memory));
}

/** `attachMemory` in steps, where its format has them. */
export function* attaching<Handle>(memory: Memory): Steps<Attached<Handle>> {
  const known = formatOf(memory);
  const format = known.format as Format<Handle>;
  return attached(known, format.probeInSteps === undefined ? format.probe(memory) : yield* format.probeInSteps(memory));
}

function formatOf(memory: Memory): Registered {
  const type = formatTypeOf(memory.read(0, superblockHead.sizeBytes));
  if (type !== undefined) return registered(type, "UNKNOWN_FORMAT");
  refuseHalfFormatted(memory);
  const found = describeForeignData(memory);
  const source = memory.ranges[0].source;
  if (found === undefined) throw new PerdureError("UNFORMATTED", `${source} is blank`);
  throw new PerdureError("FOREIGN_DATA", `${source} holds ${found}`);
}

/** @throws UNFORMATTED for a memory whose format was cut off, or is under way */
export function refuseHalfFormatted(memory: Memory): void {
  if (!hasFormattingMark(memory)) return;
  throw new PerdureError("UNFORMATTED", `${memory.ranges[0].source} was being formatted, and that did not end`);
}

function attached<Handle>(known: Registered, handle: Handle): Attached<Handle> {
  const format = known.format as Format<Handle>;
  known.uses++;
  let isAttached = true;
  const detach = (): void => {
    if (!isAttached) return;
    try {
      format.cleanup(handle);
    } catch (error) {
      throw stillAttached(error);
    }
    isAttached = false;
    known.uses--;
  };
  return { format, handle, detach };
}

function stillAttached(error: unknown): unknown {
  if (!isPerdureError(error)) return error;
  const { code, message, remedy } = error;
  return new PerdureError(code, `${message}; the memory stays attached`, { remedy, cause: error });
}

/**
 * True for what may be formatted without force: neither a superblock nor anything else was found, or a format was
 * begun there and cut off.
 */
export function isBlank(memory: Memory): boolean {
  return atOnce(isBlankInSteps(memory));
}

/** `isBlank` in steps. */
export function* isBlankInSteps(memory: Memory): Steps<boolean> {
  if (hasFormattingMark(memory)) return true;
  const type = formatTypeOf(memory.read(0, superblockHead.sizeBytes));
  return type === undefined && describeForeignData(memory) === undefined && (yield* isAllZero(memory));
}

function registered(type: number, code: "ENOENT" | "UNKNOWN_FORMAT"): Registered {
  const known = formats.get(type);
  if (known === undefined) throw new PerdureError(code, `no format of type ${type} is registered`);
  return known;
}

/** Looks, in steps, for what must not be overwritten. @throws EEXIST (it holds a format already), FOREIGN_DATA */
export function* refusingData(memory: Memory): Steps<void> {
  if (hasFormattingMark(memory)) return;
  const source = memory.ranges[0].source;
  const type = formatTypeOf(memory.read(0, superblockHead.sizeBytes));
  if (type !== undefined) {
    const what = formats.get(type)?.format.name ?? `memory of format type ${type}`;
    throw new PerdureError("EEXIST", `${source} holds a ${what} already`, {
      remedy: "open it, or format again with --force if everything in it may be destroyed",
    });
  }
  const found =
    describeForeignData(memory) ?? ((yield* isAllZero(memory)) ? undefined : "data somewhere in the middle");
  if (found !== undefined) throw new PerdureError("FOREIGN_DATA", `${source} holds ${found}`);
}
