import { formatSize, isPerdureError, PerdureError } from "../../base/index.ts";
import { formatMemory, listFormats, superblockHead } from "../../format/index.ts";
import { Backing, MappedMemory, windowBytes } from "../../memory/index.ts";
import { analyze, createRegion, nativeFormat } from "../../region/index.ts";
import { formatType } from "../../region/layout.ts";
import type { CliContext } from "../context.ts";
import { print } from "../output.ts";
import { startProgress } from "../progress.ts";

interface FormatFlags {
  readonly size?: number;
  readonly pageSize?: number;
  readonly checksums?: boolean;
  readonly format?: string;
  readonly force?: boolean;
}

/** `perdure format`: makes a region in a new file, or in memory that is there. */
export async function format(context: CliContext, flags: FormatFlags, source: string): Promise<void> {
  refuseOtherFormats(flags.format);
  const { stderr } = context.process;
  const memory = openExisting(source);
  if (memory === undefined) createFile(source, flags).close();
  else {
    try {
      formatExisting(memory, flags, stderr);
    } finally {
      memory.close();
    }
  }
  print(stderr, describeResult(source));
}

/** Only the native format can be made by this command so far; others are registered by the programs that bring them. */
function refuseOtherFormats(wanted: string | undefined): void {
  if (wanted === undefined) return;
  const known = listFormats();
  const found = known.find(({ type, name }) => wanted === name || wanted === String(type));
  if (found?.type === formatType) return;
  const names = known.map(({ type, name }) => `${type} (${name})`).join(", ");
  throw new PerdureError("UNKNOWN_FORMAT", `this command knows no format "${wanted}"`, {
    remedy: `choose from: ${names}`,
  });
}

/** @returns undefined where there is nothing of that name */
function openExisting(source: string): MappedMemory | undefined {
  try {
    return new MappedMemory([Backing.open(source)]);
  } catch (error) {
    const isMissing = isPerdureError(error, "ENOENT") && !source.startsWith("fd:");
    if (isMissing) return undefined;
    throw error;
  }
}

function createFile(source: string, { size, pageSize, checksums = false }: FormatFlags): MappedMemory {
  if (size === undefined) {
    throw new PerdureError("EINVAL", `${source} is not there, and a file that is created needs a size`, {
      remedy: "pass --size, for example --size 512M",
    });
  }
  return createRegion(source, { size, checksums, ...(pageSize === undefined ? {} : { pageSize }) });
}

function formatExisting(memory: MappedMemory, flags: FormatFlags, stderr: NodeJS.WriteStream): void {
  const { source, lengthBytes } = memory.ranges[0];
  if (flags.size !== undefined && flags.size !== lengthBytes) {
    throw new PerdureError("EINVAL", `${source} is there and has ${lengthBytes} bytes, not ${flags.size}`, {
      remedy: "leave --size out to format it as it is, or choose another name",
    });
  }
  const { pageSize, checksums = false } = flags;
  const native = nativeFormat(pageSize === undefined ? { checksums } : { checksums, pageBytes: pageSize });
  try {
    formatMemory(memory, native);
  } catch (error) {
    const isTaken = isPerdureError(error, "FOREIGN_DATA") || isPerdureError(error, "EEXIST");
    if (!isTaken || flags.force !== true) throw error;
    // Nothing may be wiped for a format that cannot be made.
    native.validate?.(memory);
    print(stderr, `${error.message}: wiping it, as --force says`);
    wipe(memory, stderr);
    formatMemory(memory, native);
  }
}

/** Zeroes a whole memory: a backup partition table or an old file system must not be found in it later. */
function wipe(memory: MappedMemory, stderr: NodeJS.WriteStream): void {
  // The magic goes first: what is wiped by half must not be taken for a region.
  memory.commit64(superblockHead.fields.magicLow.offset, 0, 0);
  const progress = startProgress(stderr, "wiping", memory.sizeBytes);
  for (let offset = 0; offset < memory.sizeBytes; offset += windowBytes) {
    memory.zero(offset, Math.min(windowBytes, memory.sizeBytes - offset));
    progress.advance(Math.min(windowBytes, memory.sizeBytes - offset));
  }
  progress.stop();
  memory.sync();
}

function describeResult(source: string): string {
  const memory = new MappedMemory([Backing.open(source, { readOnly: true })]);
  const { pages, pageBytes } = analyze(memory).geometry;
  memory.close();
  return `formatted ${source}: ${formatSize(pages * pageBytes)} in ${pages} pages of ${formatSize(pageBytes)}`;
}
