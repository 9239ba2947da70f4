import { formatSize } from "../../base/index.ts";
import { type QuotaBytes, quotaOf } from "../../service/index.ts";
import { change } from "../change.ts";
import type { CliContext } from "../context.ts";
import { openForReading } from "../open-region.ts";
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
  const bytes = isChange
    ? await change(context, source, "quota/set", { subsystem, name, minBytes: min, maxBytes: max })
    : await readQuota(source, subsystem, name);
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

async function readQuota(source: string, subsystem: string, name: string): Promise<QuotaBytes> {
  using region = await openForReading(source);
  return quotaOf(region, region.instance(subsystem, name));
}

function describe(bytes: number, none: string): string {
  return bytes === 0 ? none : formatSize(bytes);
}
