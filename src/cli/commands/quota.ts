import { formatSize } from "../../base/index.ts";
import type { Instance } from "../../index.ts";
import type { CliContext } from "../context.ts";
import { openForReading, openForWriting } from "../open-region.ts";
import { printFacts, printJson, tell } from "../output.ts";

interface QuotaFlags {
  readonly min?: number;
  readonly max?: number;
  readonly subsystem?: string;
  readonly json?: boolean;
}

/** `perdure quota`: shows or sets how much memory an instance is guaranteed, and how much it may take. */
export async function quota(context: CliContext, flags: QuotaFlags, source: string, name: string): Promise<void> {
  const { min, max, subsystem = "disk", json } = flags;
  const { stdout, stderr } = context.process;
  const isChange = min !== undefined || max !== undefined;
  using region = isChange ? await openForWriting(source) : await openForReading(source);
  const instance = region.instance(subsystem, name);
  if (isChange) instance.setQuota(inPages(flags, region.pageBytes));
  const bytes = inBytes(instance, region.pageBytes);
  if (json === true) printJson(stdout, bytes);
  else if (isChange)
    tell(
      stderr,
      `"${name}": guaranteed ${describe(bytes.minBytes, "nothing")}, at most ${describe(bytes.maxBytes, "no limit")}`,
    );
  else {
    printFacts(stdout, [
      ["takes", formatSize(bytes.allocatedBytes)],
      ["guaranteed", describe(bytes.minBytes, "nothing")],
      ["at most", describe(bytes.maxBytes, "no limit")],
    ]);
  }
}

function inPages({ min, max }: QuotaFlags, pageBytes: number): { minPages?: number; maxPages?: number } {
  return {
    ...(min === undefined ? {} : { minPages: Math.ceil(min / pageBytes) }),
    ...(max === undefined ? {} : { maxPages: Math.ceil(max / pageBytes) }),
  };
}

function inBytes(
  instance: Instance,
  pageBytes: number,
): { allocatedBytes: number; minBytes: number; maxBytes: number } {
  const { minPages, maxPages } = instance.quota;
  return {
    allocatedBytes: instance.pageCount * pageBytes,
    minBytes: minPages * pageBytes,
    maxBytes: maxPages * pageBytes,
  };
}

function describe(bytes: number, none: string): string {
  return bytes === 0 ? none : formatSize(bytes);
}
