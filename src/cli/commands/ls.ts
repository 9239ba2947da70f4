import { formatSize } from "../../base/index.ts";
import type { CliContext } from "../context.ts";
import { openForReading } from "../open-region.ts";
import { formatTime, printable, printJson, printTable, tell } from "../output.ts";

/** `perdure ls`: every instance of a region. */
export async function ls(
  context: CliContext,
  flags: { deleted?: boolean; json?: boolean },
  source: string,
): Promise<void> {
  const region = await openForReading(source);
  const { pageBytes } = region;
  const deleted = region.deleted();
  const found = flags.deleted === true ? deleted : region.list();
  const times = flags.deleted === true ? deleted.map((one) => one.deleted) : found.map(({ created }) => created);
  const instances = found.map((one) => ({ ...one, allocatedBytes: one.pages * pageBytes }));
  await region.close();
  const { stdout, stderr } = context.process;
  if (flags.json === true) return printJson(stdout, instances);
  if (instances.length === 0)
    return tell(stderr, `${source} ${flags.deleted === true ? "keeps nothing that was deleted" : "is empty"}`);
  const columns = [
    { head: "SUBSYSTEM" },
    { head: "NAME" },
    { head: "SIZE", align: "right" },
    { head: "ALLOCATED", align: "right" },
    { head: flags.deleted === true ? "DELETED (UTC)" : "CREATED (UTC)" },
  ] as const;
  const rows = instances.map(({ subsystem, name, sizeBytes, allocatedBytes }, k) => [
    subsystem,
    printable(name),
    formatSize(sizeBytes),
    formatSize(allocatedBytes),
    formatTime(times[k]),
  ]);
  printTable(stdout, columns, rows);
}
