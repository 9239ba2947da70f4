import { formatSize, PerdureError } from "../../base/index.ts";
import type { ScrubReport } from "../../index.ts";
import type { CliContext } from "../context.ts";
import { openForReading } from "../open-region.ts";
import { paint, plural, print, printable, printFacts, printJson, printTable } from "../output.ts";
import { type ProgressBar, startProgress } from "../progress.ts";

/** `perdure scrub`: looks for content that has changed by itself. */
export async function scrub(
  context: CliContext,
  flags: { json?: boolean },
  source: string,
  ...disks: readonly string[]
): Promise<void | PerdureError> {
  const report = await scrubWithProgress(context.process.stderr, source, disks);
  if (flags.json === true) printJson(context.process.stdout, report);
  else printReport(context.process.stdout, report);
  if (report.damagedPages === 0) return;
  return new PerdureError("DATA_CORRUPT", `${source} is damaged: ${plural(report.damagedPages, "page")}`, {
    remedy: "restore these places from a backup: storing a whole page anew heals it",
  });
}

async function scrubWithProgress(
  stderr: NodeJS.WriteStream,
  source: string,
  disks: readonly string[],
): Promise<ScrubReport> {
  using region = await openForReading(source);
  const { pageBytes } = region;
  const wanted = disks.length === 0 ? {} : { instances: disks.map((name) => ({ subsystem: "disk", name })) };
  let bar: ProgressBar | undefined;
  try {
    return await region.scrub({
      ...wanted,
      onProgress: ({ donePages, pages }) => {
        bar ??= startProgress(stderr, "scrubbing", pages * pageBytes);
        bar.show(donePages * pageBytes);
      },
    });
  } finally {
    bar?.stop();
  }
}

function printReport(stream: NodeJS.WriteStream, report: ScrubReport): void {
  const { source, pageBytes, intactPages, unsealedPages, damagedPages, damaged } = report;
  const sum = intactPages + unsealedPages + damagedPages;
  printFacts(stream, [
    ["region", source],
    ["read", `${plural(sum, "page")} of ${formatSize(pageBytes)}`],
    ["intact", String(intactPages)],
    ["not sealed", String(unsealedPages)],
    ["result", damagedPages > 0 ? paint(stream, "red", `damaged: ${plural(damagedPages, "page")}`) : intact(stream)],
  ]);
  if (damagedPages === 0) return;
  print(stream, "");
  const columns = [
    { head: "INSTANCE" },
    { head: "BYTE OFFSET", align: "right" },
    { head: "INDEX", align: "right" },
    { head: "PAGE", align: "right" },
  ] as const;
  const rows = damaged.map(({ subsystem, name, owner, offsetBytes, index, page }) => [
    name === undefined ? `owner ${owner}` : printable(`${subsystem} ${name}`),
    String(offsetBytes),
    String(index),
    String(page),
  ]);
  printTable(stream, columns, rows);
  if (damagedPages > damaged.length) print(stream, `… and ${damagedPages - damaged.length} more`);
}

function intact(stream: NodeJS.WriteStream): string {
  return paint(stream, "green", "no damage");
}
