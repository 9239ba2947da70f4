import { formatSize, PerdureError } from "../../base/index.ts";
import {
  type CheckReport,
  checkRegion,
  describeFinding,
  describeMend,
  type InstanceVerdict,
  type Mend,
  type RepairReport,
  repairRegion,
} from "../../region/index.ts";
import type { CliContext } from "../context.ts";
import { interruptible } from "../interruptible.ts";
import { type OtherMemory, readOther } from "../other-format.ts";
import { paint, plural, print, printable, printFacts, printJson, printTable, wrap } from "../output.ts";
import { describeUse } from "../owner.ts";

const WIDTH = 80;

/** `perdure check`: looks for what no crash leaves behind, and with --repair mends it. */
export async function check(
  context: CliContext,
  flags: { json?: boolean; repair?: boolean },
  source: string,
): Promise<void | PerdureError> {
  const { stdout, stderr } = context.process;
  if (flags.repair === true) {
    const repaired = await repairRegion(source);
    if (flags.json === true) printJson(stdout, repaired);
    else printRepair(stdout, repaired);
    return;
  }
  const report = await interruptible(
    stderr,
    async (options) => readOther(source) ?? (await checkRegion(source, options)),
  );
  if ("facts" in report) return printOther(stdout, flags, report);
  if (flags.json === true) printJson(stdout, report);
  else printReport(stdout, report);
  if (report.findingCount === 0) return;
  const remedy =
    report.plan === undefined
      ? "keep a copy of the memory before anything else; the findings say which pages are concerned"
      : "keep a copy of the memory, then run `perdure check --repair`";
  return new PerdureError("CORRUPT", `${source} is corrupt: ${plural(report.findingCount, "finding")}`, { remedy });
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
  const { findingCount, findings, plan } = report;
  printFacts(stream, [
    ["region", report.source],
    ["state", describeUse(report.state, report.ownerPid)],
    ["scanned", `${report.pages} pages of ${formatSize(report.pageBytes)}`],
    ["result", describeResult(stream, report)],
  ]);
  printCounts(stream, report);
  printInstances(stream, report.instances);
  printAfterCrash(stream, report);
  if (findingCount === 0) return;
  print(stream, "", "Corruption:");
  for (const finding of findings) printItem(stream, describeFinding(finding));
  if (findingCount > findings.length) print(stream, `  … and ${findingCount - findings.length} more`);
  if (plan === undefined) return;
  print(stream, "", `What check --repair would do${describeLosses(plan.lossCount)}:`);
  printMends(stream, plan.mends, plan.mendCount);
}

function printRepair(stream: NodeJS.WriteStream, report: RepairReport): void {
  const { findingCount, mendCount, lossCount } = report;
  const isDone = findingCount > 0;
  printFacts(stream, [
    ["region", report.source],
    ["found", findingCount === 0 ? "no corruption: nothing was changed" : plural(findingCount, "finding")],
    ...(isDone ? ([["result", paint(stream, "green", `repaired${describeLosses(lossCount)}`)]] as const) : []),
  ]);
  if (isDone) {
    print(stream, "", "Done:");
    printMends(stream, report.mends, mendCount);
  }
  printInstances(stream, report.instances);
}

function describeLosses(count: number): string {
  if (count === 0) return ", without a loss";
  return `, with ${count === 1 ? "one loss" : `${count} losses`} (marked !)`;
}

function printMends(stream: NodeJS.WriteStream, mends: readonly Mend[], count: number): void {
  for (const mend of mends) printItem(stream, describeMend(mend), mend.isLoss ? "! " : "  ");
  if (count > mends.length) print(stream, `  … and ${count - mends.length} more`);
}

/** One line of a list, broken where the terminal ends. */
function printItem(stream: NodeJS.WriteStream, text: string, mark = "  "): void {
  const [first, ...rest] = wrap(printable(text), WIDTH - 6);
  print(stream, `${mark}${first}`, ...rest.map((line) => `      ${line}`));
}

function printCounts(stream: NodeJS.WriteStream, { pageCounts }: CheckReport): void {
  print(stream, "");
  printTable(stream, [{ head: "PAGES", align: "right" }, { head: "OF WHAT KIND" }], countRows(pageCounts, kindTexts));
}

/** A row for everything of which there is some. */
function countRows<K extends string>(counts: Record<K, number>, texts: Record<K, string>): string[][] {
  const keys = Object.keys(texts) as K[];
  return keys.filter((key) => counts[key] > 0).map((key) => [String(counts[key]), texts[key]]);
}

/** Kinds of pages in words. */
const kindTexts = {
  free: "free",
  metadata: "metadata",
  directory: "directory of the instances",
  data: "data",
  masks: "masks of layers",
  runs: "data, in runs behind their first page",
  volatile: "volatile",
  bad: "out of use",
  unreadable: "of an unknown kind: their entry is damaged",
  unused: "free, and never used",
} as const satisfies Record<keyof CheckReport["pageCounts"], string>;

function printInstances(stream: NodeJS.WriteStream, instances: readonly InstanceVerdict[]): void {
  if (instances.length === 0) return;
  print(stream, "");
  const names = new Map(instances.map((one) => [one.owner, one.name]));
  const rows = instances.map((one) => [
    one.name === null ? `owner ${one.owner}` : printable(`${one.subsystem} ${one.name}`),
    one.condition,
    one.parent === null ? "" : printable(names.get(one.parent) ?? `owner ${one.parent}`),
    String(one.pages.data + one.pages.masks + one.pages.runs + one.pages.volatile),
    describeVerdict(stream, one),
  ]);
  const columns = [{ head: "INSTANCE" }, { head: "CONDITION" }, { head: "STANDS ON" }] as const;
  printTable(stream, [...columns, { head: "PAGES", align: "right" }, { head: "VERDICT" }], rows);
}

function describeVerdict(stream: NodeJS.WriteStream, one: InstanceVerdict): string {
  if (one.isSound) return paint(stream, "green", "sound");
  const pages = one.damagedPages === 0 ? "" : ` on ${plural(one.damagedPages, "page")}`;
  return paint(stream, "red", `damaged: ${plural(one.findingCount, "finding")}${pages}`);
}

function printAfterCrash(stream: NodeJS.WriteStream, { recovered, healed, state }: CheckReport): void {
  const rows = countRows({ ...recovered, healed }, afterCrash);
  if (rows.length === 0) return;
  const heading =
    state === "open"
      ? "In use by the writer, and no damage"
      : "Normal after a crash; the next open for writing puts it right";
  print(stream, "", `${heading}:`);
  printTable(stream, [{ head: "COUNT", align: "right" }, { head: "WHAT" }], rows);
}

/** What a crash may leave behind, by its name in the report. */
const afterCrash = {
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
