import { formatSize, PerdureError } from "../../base/index.ts";
import { type CheckReport, checkRegion, describeFinding } from "../../region/index.ts";
import type { CliContext } from "../context.ts";
import { interruptible } from "../interruptible.ts";
import { type OtherMemory, readOther } from "../other-format.ts";
import { paint, plural, print, printable, printFacts, printJson, printTable } from "../output.ts";
import { describeUse } from "../owner.ts";

/** `perdure check`: looks for what no crash leaves behind. */
export async function check(
  context: CliContext,
  flags: { json?: boolean },
  source: string,
): Promise<void | PerdureError> {
  const report = await interruptible(
    context.process.stderr,
    async (options) => readOther(source) ?? (await checkRegion(source, options)),
  );
  if ("facts" in report) return printOther(context.process.stdout, flags, report);
  if (flags.json === true) printJson(context.process.stdout, report);
  else printReport(context.process.stdout, report);
  if (report.findingCount === 0) return;
  return new PerdureError("CORRUPT", `${source} is corrupt: ${plural(report.findingCount, "finding")}`, {
    remedy: "keep a copy of the memory before anything else; the findings say which pages are concerned",
  });
}

/** All that can be asked of a format is to open the memory, and that it did. */
function printOther(stream: NodeJS.WriteStream, { json }: { json?: boolean }, other: OtherMemory): void {
  const { source, format, name, sizeBytes } = other;
  if (json === true) return printJson(stream, { source, format, name, sizeBytes, opens: true });
  const result = `${paint(stream, "green", "opens")}: its format looks for no more than that`;
  printFacts(stream, [
    ["memory", source],
    ["format", `${printable(name)} (${format})`],
    ["result", result],
  ]);
}

function printReport(stream: NodeJS.WriteStream, report: CheckReport): void {
  const { findingCount, recovered, healed } = report;
  printFacts(stream, [
    ["region", report.source],
    ["state", describeUse(report.state, report.ownerPid)],
    ["scanned", `${report.pages} pages of ${formatSize(report.pageBytes)}, ${plural(report.instances, "instance")}`],
    ["result", describeResult(stream, report)],
  ]);
  const left = Object.entries({ ...recovered, healed }).filter(([, count]) => count > 0);
  if (left.length > 0) {
    const afterCrash = "Normal after a crash; the next open for writing puts it right:";
    print(stream, "", report.state === "open" ? "In use by the writer, and no damage:" : afterCrash);
    printTable(
      stream,
      [{ head: "COUNT", align: "right" }, { head: "WHAT" }],
      left.map(([key, count]) => [String(count), leftovers[key as keyof typeof leftovers]]),
    );
  }
  if (findingCount === 0) return;
  print(stream, "", "Corruption:");
  for (const finding of report.findings) print(stream, `  ${describeFinding(finding)}`);
  const untold = findingCount - report.findings.length;
  if (untold > 0) print(stream, `  … and ${untold} more`);
}

/** What a crash may leave behind, by its name in the report. */
const leftovers = {
  losers: "pages of which another version counts",
  orphans: "pages of runs that were not finished",
  beyondSize: "pages beyond the end of an instance that was cut",
  volatile: "volatile pages, which end with their owner",
  unfinished: "pages of instances not finished or half deleted",
  healed: "records of which one copy counts",
} as const satisfies Record<keyof CheckReport["recovered"] | "healed", string>;

function describeResult(stream: NodeJS.WriteStream, { findingCount, provisional }: CheckReport): string {
  if (findingCount > 0) return paint(stream, "red", `corrupt: ${plural(findingCount, "finding")}`);
  const sound = paint(stream, "green", "no corruption");
  return provisional ? `${sound} (provisional: a writer was at work during every scan)` : sound;
}
