import { exactSize, formatSize, inTurns, isPerdureError, PerdureError, type Steps } from "../../base/index.ts";
import {
  creatingMemory,
  type Format,
  findFormat,
  formatting,
  openingMemory,
  openMemory,
  refusingData,
  superblockHead,
} from "../../format/index.ts";
import { type MappedMemory, windowBytes } from "../../memory/index.ts";
import { analyze, nativeFormat } from "../../region/index.ts";
import { formatType } from "../../region/layout.ts";
import type { CliContext } from "../context.ts";
import { interruptible } from "../interruptible.ts";
import { readOther } from "../other-format.ts";
import { tell } from "../output.ts";

interface FormatFlags {
  readonly size?: number;
  readonly pageSize?: number;
  readonly thin?: boolean;
  readonly checksums?: boolean;
  readonly format?: string;
  readonly force?: boolean;
}

/** `perdure format`: makes a region, or a memory of another format, in a new file or in memory that is there. */
export async function format(context: CliContext, flags: FormatFlags, source: string): Promise<void> {
  const chosen = chosenFormat(flags);
  const { stderr } = context.process;
  const memory = await interruptible(stderr, (options) => inTurns(making(source, chosen, flags, stderr), options));
  memory.close();
  tell(stderr, `formatted ${source}: ${describeResult(source)}`);
}

function* making(source: string, chosen: Format, flags: FormatFlags, stderr: NodeJS.WriteStream): Steps<MappedMemory> {
  const memory = yield* openingExisting(source);
  if (memory === undefined) return yield* creating(source, chosen, flags);
  let done = false;
  try {
    yield* formattingExisting(memory, chosen, flags, stderr);
    done = true;
    return memory;
  } finally {
    if (!done) memory.close();
  }
}

function chosenFormat({ format: wanted, pageSize, thin = false, checksums = false }: FormatFlags): Format {
  const found = wanted === undefined ? undefined : findFormat(wanted);
  if (found === undefined || found.type === formatType) {
    return nativeFormat({ thin, checksums, ...(pageSize === undefined ? {} : { pageBytes: pageSize }) });
  }
  if (pageSize === undefined && !thin && !checksums) return found;
  throw new PerdureError("EINVAL", `the format "${found.name}" takes no --page-size, --thin or --checksums`, {
    remedy: "leave them out: they are for regions",
  });
}

/** @returns undefined where there is nothing of that name */
function* openingExisting(source: string): Steps<MappedMemory | undefined> {
  try {
    return yield* openingMemory(source, { keepHoles: true });
  } catch (error) {
    if (isPerdureError(error, "ENOENT") && !source.startsWith("fd:")) return undefined;
    throw error;
  }
}

function creating(source: string, chosen: Format, { size, thin = false }: FormatFlags): Steps<MappedMemory> {
  if (size === undefined) {
    throw new PerdureError("EINVAL", `${source} is not there, and a file that is created needs a size`, {
      remedy: "pass --size, for example --size 512M",
    });
  }
  return creatingMemory(source, size, chosen, { keepHoles: thin });
}

function* formattingExisting(
  memory: MappedMemory,
  chosen: Format,
  flags: FormatFlags,
  stderr: NodeJS.WriteStream,
): Steps<void> {
  const { source, lengthBytes } = memory.ranges[0];
  if (flags.size !== undefined && flags.size !== lengthBytes) {
    throw new PerdureError(
      "EINVAL",
      `${source} is there and has ${exactSize(lengthBytes)}, not ${exactSize(flags.size)}`,
      {
        remedy: "leave --size out to format it as it is, or choose another name",
      },
    );
  }
  const found = yield* dataIn(memory, flags);
  // Nothing may be wiped, or reserved, for a format that cannot be made.
  chosen.validate?.(memory);
  if (found !== undefined) tell(stderr, `${found.message}: wiping it, as --force says`);
  // A thin region begins with giving back all memory that was there.
  if (flags.thin !== true) {
    yield* memory.fillHoles();
    if (found !== undefined) yield* wiping(memory);
  }
  yield* formatting(memory, chosen, { force: true });
}

/** @returns why the memory is not formatted without --force. @throws it, without --force */
function* dataIn(memory: MappedMemory, { force }: FormatFlags): Steps<PerdureError | undefined> {
  try {
    yield* refusingData(memory);
    return undefined;
  } catch (error) {
    const isTaken = isPerdureError(error, "FOREIGN_DATA") || isPerdureError(error, "EEXIST");
    if (!isTaken || force !== true) throw error;
    return error;
  }
}

/** Zeroes a whole memory: a backup partition table or an old file system must not be found in it later. */
function* wiping(memory: MappedMemory): Steps<void> {
  // The magic goes first: what is wiped by half must not be taken for a region.
  memory.commit64(superblockHead.fields.magicLow.offset, 0, 0);
  for (let offset = 0; offset < memory.sizeBytes; offset += windowBytes) {
    const end = Math.min(offset + windowBytes, memory.sizeBytes);
    memory.zero(offset, end - offset);
    yield { what: "wiping", doneBytes: end, totalBytes: memory.sizeBytes };
  }
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
