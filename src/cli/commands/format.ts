import { formatSize, isPerdureError, PerdureError } from "../../base/index.ts";
import { createMemory, type Format, findFormat, formatMemory, openMemory, superblockHead } from "../../format/index.ts";
import { type MappedMemory, windowBytes } from "../../memory/index.ts";
import { analyze, nativeFormat } from "../../region/index.ts";
import { formatType } from "../../region/layout.ts";
import type { CliContext } from "../context.ts";
import { lockedBy } from "../open-region.ts";
import { readOther } from "../other-format.ts";
import { print } from "../output.ts";
import { startProgress } from "../progress.ts";

interface FormatFlags {
  readonly size?: number;
  readonly pageSize?: number;
  readonly format?: string;
  readonly force?: boolean;
}

/** `perdure format`: makes a region, or a memory of another format, in a new file or in memory that is there. */
export async function format(context: CliContext, flags: FormatFlags, source: string): Promise<void> {
  const chosen = chosenFormat(flags);
  const { stderr } = context.process;
  const memory = await openExisting(source);
  if (memory === undefined) createFile(source, chosen, flags).close();
  else {
    try {
      formatExisting(memory, chosen, flags, stderr);
    } finally {
      memory.close();
    }
  }
  print(stderr, `formatted ${source}: ${describeResult(source)}`);
}

function chosenFormat({ format: wanted, pageSize }: FormatFlags): Format {
  const found = wanted === undefined ? undefined : findFormat(wanted);
  if (found === undefined || found.type === formatType) {
    return nativeFormat(pageSize === undefined ? {} : { pageBytes: pageSize });
  }
  if (pageSize === undefined) return found;
  throw new PerdureError("EINVAL", `the format "${found.name}" takes no --page-size: that is for regions`);
}

/** @returns undefined where there is nothing of that name */
async function openExisting(source: string): Promise<MappedMemory | undefined> {
  try {
    return openMemory(source);
  } catch (error) {
    if (isPerdureError(error, "LOCKED")) throw await lockedBy(source, error);
    const isMissing = isPerdureError(error, "ENOENT") && !source.startsWith("fd:");
    if (isMissing) return undefined;
    throw error;
  }
}

function createFile(source: string, chosen: Format, { size }: FormatFlags): MappedMemory {
  if (size === undefined) {
    throw new PerdureError("EINVAL", `${source} is not there, and a file that is created needs a size`, {
      remedy: "pass --size, for example --size 512M",
    });
  }
  return createMemory(source, size, chosen);
}

function formatExisting(memory: MappedMemory, chosen: Format, flags: FormatFlags, stderr: NodeJS.WriteStream): void {
  const { source, lengthBytes } = memory.ranges[0];
  if (flags.size !== undefined && flags.size !== lengthBytes) {
    throw new PerdureError("EINVAL", `${source} is there and has ${lengthBytes} bytes, not ${flags.size}`, {
      remedy: "leave --size out to format it as it is, or choose another name",
    });
  }
  try {
    formatMemory(memory, chosen);
  } catch (error) {
    const isTaken = isPerdureError(error, "FOREIGN_DATA") || isPerdureError(error, "EEXIST");
    if (!isTaken || flags.force !== true) throw error;
    // Nothing may be wiped for a format that cannot be made.
    chosen.validate?.(memory);
    print(stderr, `${error.message}: wiping it, as --force says`);
    wipe(memory, stderr);
    formatMemory(memory, chosen);
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
  const other = readOther(source);
  if (other !== undefined) return `${formatSize(other.sizeBytes)} in the format ${other.name} (${other.format})`;
  const memory = openMemory(source, { readOnly: true });
  const { pages, pageBytes } = analyze(memory).geometry;
  memory.close();
  return `${formatSize(pages * pageBytes)} in ${pages} pages of ${formatSize(pageBytes)}`;
}
