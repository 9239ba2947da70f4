import { formatSize } from "../base/index.ts";
import type { Region, StartReport } from "../index.ts";
import { paint, plural } from "./output.ts";

/** What everybody wants to know first: is what was there still there? */
export function describeStart(stream: NodeJS.WriteStream, region: Region, quarantineAfter: number): string[] {
  const { start } = region;
  const kept = region.disks.list().reduce((sum, disk) => sum + disk.allocatedBytes, 0);
  const blocks = `${plural(kept / region.pageBytes, "block")} (${formatSize(kept)}) of disks kept`;
  // A reader finds things as recovery would leave them, and leaves them as they are.
  const kind = region.readOnly ? "read-only" : start.kind;
  return [
    `${paint(stream, start.kind === "recovered" ? "yellow" : "green", kind)}: ${describeReason(start)}`,
    `  generation ${start.generation}, ${blocks}, ${start.openMs.toFixed(1)} ms`,
    ...describeRecovery(start).map((line) => `  ${line}`),
    ...describeProtection(start, quarantineAfter).map((line) => `  ${line}`),
  ];
}

/** Who kills a server at its start again and again should know beforehand what comes of it. */
function describeProtection({ failedStarts, quarantined }: StartReport, quarantineAfter: number): string[] {
  const failed = failedStarts - 1;
  if (quarantined !== undefined) {
    return [
      "the region before is kept in",
      `  ${quarantined}`,
      "to use it, move it back under its name and pass --quarantine-after 0",
    ];
  }
  if (quarantineAfter === 0 || failed < 1) return [];
  const were = failed === 1 ? "the last start" : `the last ${failed} starts`;
  return [`${were} failed; after ${quarantineAfter} in a row the region is put aside or refused`];
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
