import { formatSize } from "../../base/index.ts";
import type { CliContext } from "../context.ts";
import { openForReading } from "../open-region.ts";
import { print, printable, printJson, printTable } from "../output.ts";

/** `perdure du`: what takes the memory of a region, and what is shared. */
export async function du(context: CliContext, flags: { json?: boolean }, source: string): Promise<void> {
  const region = await openForReading(source);
  const { pageBytes } = region;
  const instances = region.usage().map((one) => ({
    ...one,
    allocatedBytes: one.pages * pageBytes,
    sharedBytes: one.sharedPages * pageBytes,
  }));
  const deleted = region.deleted().map((one) => ({ ...one, allocatedBytes: one.pages * pageBytes, sharedBytes: 0 }));
  await region.close();
  const { stdout, stderr } = context.process;
  if (flags.json === true) return printJson(stdout, { instances, deleted });
  if (instances.length + deleted.length === 0) return print(stderr, `${source} is empty`);
  const columns = [
    { head: "OWN", align: "right" },
    { head: "SHARED", align: "right" },
    { head: "SIZE", align: "right" },
    { head: "SUBSYSTEM" },
    { head: "NAME" },
    { head: "OVER" },
  ] as const;
  const rows = [...instances, ...deleted].map(
    ({ subsystem, name, sizeBytes, allocatedBytes, sharedBytes, parent }, k) => [
      formatSize(allocatedBytes),
      formatSize(sharedBytes),
      formatSize(sizeBytes),
      subsystem,
      k < instances.length ? printable(name) : `${printable(name)} (deleted)`,
      printable(parent ?? "-"),
    ],
  );
  printTable(stdout, columns, rows);
}
