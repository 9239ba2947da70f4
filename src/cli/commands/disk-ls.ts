import { formatSize } from "../../base/index.ts";
import type { CliContext } from "../context.ts";
import { openForReading } from "../open-region.ts";
import { formatTime, printable, printJson, printTable, tell } from "../output.ts";

/** `perdure disk ls`: the disks of a region. */
export async function diskLs(context: CliContext, flags: { json?: boolean }, source: string): Promise<void> {
  const region = await openForReading(source);
  const disks = region.disks.list();
  await region.close();
  const { stdout, stderr } = context.process;
  if (flags.json === true) return printJson(stdout, disks);
  if (disks.length === 0) return tell(stderr, `${source} has no disks; make one with \`perdure disk create\``);
  const columns = [
    { head: "DISK" },
    { head: "SIZE", align: "right" },
    { head: "ALLOCATED", align: "right" },
    { head: "FULL", align: "right" },
    { head: "CREATED (UTC)" },
    { head: "KIND" },
  ] as const;
  const rows = disks.map(({ name, sizeBytes, allocatedBytes, created, readOnly, parent }) => [
    printable(name),
    formatSize(sizeBytes),
    formatSize(allocatedBytes),
    `${Math.floor((100 * allocatedBytes) / sizeBytes)}%`,
    formatTime(created),
    `${readOnly ? "snapshot" : "disk"}${parent === undefined ? "" : ` over ${printable(parent)}`}`,
  ]);
  printTable(stdout, columns, rows);
}
