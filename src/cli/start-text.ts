import { formatSize } from "../base/index.ts";
import type { Region, StartReport } from "../index.ts";
import { paint, plural } from "./output.ts";

/** What everybody wants to know first: is what was there still there? */
export function describeStart(stream: NodeJS.WriteStream, region: Region): string[] {
  const { start } = region;
  const kept = region.disks.list().reduce((sum, disk) => sum + disk.allocatedBytes, 0);
  const blocks = `${plural(kept / region.pageBytes, "block")} (${formatSize(kept)}) of disks kept`;
  // A reader finds things as recovery would leave them, and leaves them as they are.
  const kind = region.readOnly ? "read-only" : start.kind;
  return [
    `${paint(stream, start.kind === "recovered" ? "yellow" : "green", kind)}: ${describeReason(start)}`,
    `  generation ${start.generation}, ${blocks}, ${start.openMs.toFixed(1)} ms`,
    ...describeRecovery(start).map((line) => `  ${line}`),
  ];
}

function describeReason({ kind, text, previousPid }: StartReport): string {
  return kind === "cold" || previousPid === undefined ? text : `${text} (process ${previousPid})`;
}

/** Nothing to say where nothing was cut short. */
function describeRecovery({ recovered, healed }: StartReport): string[] {
  const withdrawn = Object.values<number>({ ...recovered }).reduce((sum, count) => sum + count, 0);
  const pages = withdrawn === 0 ? [] : [`${plural(withdrawn, "page")} of unfinished work withdrawn`];
  return healed === 0 ? pages : [...pages, `${plural(healed, "record")} healed`];
}
