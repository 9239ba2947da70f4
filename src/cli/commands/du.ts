import { formatSize } from "../../base/index.ts";
import type { CliContext } from "../context.ts";
import { openForReading } from "../open-region.ts";
import { printable, printJson, printTable, tell } from "../output.ts";

interface Usage {
  readonly allocatedBytes: number;
  readonly sizeBytes: number;
  readonly subsystem: string;
  readonly parent: string | undefined;
}

/** `perdure du`: what takes the memory of a region, and what is shared. */
export async function du(context: CliContext, flags: { json?: boolean }, source: string): Promise<void> {
  const region = await openForReading(source);
  const { pageBytes } = region;
  const instances = region.usage().map((one) => ({
    ...one,
    allocatedBytes: one.pages * pageBytes,
    sharedBytes: one.sharedPages * pageBytes,
  }));
  const deleted = region.deleted().map((one) => ({ ...one, allocatedBytes: one.pages * pageBytes }));
  const hiddenBytes = region.info().hiddenPages * pageBytes;
  await region.close();
  const { stdout, stderr } = context.process;
  if (flags.json === true) return printJson(stdout, { instances, deleted, hiddenBytes });
  if (instances.length + deleted.length + hiddenBytes === 0) return tell(stderr, `${source} is empty`);
  const columns = [
    { head: "OWN", align: "right" },
    { head: "SHARED", align: "right" },
    { head: "SIZE", align: "right" },
    { head: "SUBSYSTEM" },
    { head: "NAME" },
    { head: "OVER" },
  ] as const;
  const rows = instances.map(({ sharedBytes, name, ...one }) => row(one, formatSize(sharedBytes), printable(name)));
  for (const { name, ...one } of deleted) rows.push(row(one, "-", `${printable(name)} (deleted)`));
  if (hiddenBytes > 0) rows.push([formatSize(hiddenBytes), "-", "-", "-", "(purged, still shared)", "-"]);
  printTable(stdout, columns, rows);
}

function row({ allocatedBytes, sizeBytes, subsystem, parent }: Usage, shared: string, name: string): string[] {
  return [formatSize(allocatedBytes), shared, formatSize(sizeBytes), subsystem, name, printable(parent ?? "-")];
}
