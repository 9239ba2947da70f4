import { setTimeout as sleep } from "node:timers/promises";
import { formatSize, isPerdureError, PerdureError } from "../../base/index.ts";
import { attachMemory, formatTypeOf, superblockHead } from "../../format/index.ts";
import type { MappedMemory } from "../../memory/index.ts";
import { type Analysis, analyze, describeFinding, type Finding, type RegionUse, useOf } from "../../region/index.ts";
import { formatType } from "../../region/layout.ts";
import type { CliContext } from "../context.ts";
import { openReadOnly } from "../open-region.ts";
import { paint, plural, print, printFacts, printJson, printTable } from "../output.ts";
import { describeUse } from "../owner.ts";

/** Beside a writer at work, only what stands in every one of these scans is reported. */
const SCANS_BESIDE_WRITER = 5;
const SCAN_PAUSE_MS = 50;

/** What `check` found; its JSON is this. */
interface Report {
  readonly source: string;
  readonly state: RegionUse;
  readonly ownerPid: number | undefined;
  /** A writer was at work during the scan. */
  readonly provisional: boolean;
  readonly pages: number;
  readonly pageBytes: number;
  readonly instances: number;
  /** Pages that the next open withdraws, by cause; normal after a crash. */
  readonly recovered: Analysis["recovered"];
  /** Records whose second copy the next open heals; normal after a crash. */
  readonly healed: number;
  readonly findingCount: number;
  readonly findings: readonly Finding[];
}

/** `perdure check`: looks for what no crash leaves behind. */
export async function check(
  context: CliContext,
  flags: { json?: boolean },
  source: string,
): Promise<void | PerdureError> {
  const report = await scanUntilSteady(source);
  if (flags.json === true) printJson(context.process.stdout, report);
  else printReport(context.process.stdout, report);
  if (report.findingCount === 0) return;
  return new PerdureError("CORRUPT", `${source} is corrupt: ${plural(report.findingCount, "finding")}`, {
    remedy: "keep a copy of the memory before anything else; the findings say which pages are concerned",
  });
}

/** A scan can meet a writer in the middle of a change: then it is repeated, and what does not stay is dropped. */
async function scanUntilSteady(source: string): Promise<Report> {
  let report = scan(source);
  for (let scans = 1; scans < SCANS_BESIDE_WRITER && report.provisional && report.findings.length > 0; scans++) {
    await sleep(SCAN_PAUSE_MS);
    const next = scan(source);
    const before = new Set(report.findings.map(describeFinding));
    const findings = next.findings.filter((finding) => before.has(describeFinding(finding)));
    report = { ...next, findings, findingCount: findings.length };
  }
  return report;
}

function scan(source: string): Report {
  const memory = openReadOnly(source);
  try {
    const type = formatTypeOf(memory.read(0, superblockHead.sizeBytes));
    const analysis = type === formatType ? analyze(memory) : analyzeNameless(memory);
    const findings = type === formatType ? analysis.findings : [nameless(type), ...analysis.findings];
    const state = useOf(memory, analysis.state);
    return {
      source,
      state,
      ownerPid: analysis.state.generation === 0 ? undefined : analysis.state.ownerPid,
      provisional: state === "open",
      pages: analysis.geometry.pages,
      pageBytes: analysis.geometry.pageBytes,
      instances: [...analysis.instances.values()].filter(({ ends }) => !ends).length,
      recovered: analysis.recovered,
      healed: analysis.plan.heal.length + (analysis.stateLoser === undefined ? 0 : 1),
      findingCount: analysis.findingCount + findings.length - analysis.findings.length,
      findings,
    };
  } finally {
    memory.close();
  }
}

/**
 * Without its magic and type a memory may still be a region, a damaged one. Everything else is told as what it looks
 * like.
 */
function analyzeNameless(memory: MappedMemory): Analysis {
  try {
    return analyze(memory);
  } catch (error) {
    if (!isPerdureError(error)) throw error;
    attachMemory(memory).detach();
    throw error;
  }
}

function nameless(type: number | undefined): Finding {
  return type === undefined
    ? { where: "geometry", page: 0, expected: "the magic of a superblock", found: "none" }
    : { where: "geometry", page: 0, expected: `format type ${formatType}`, found: `${type}` };
}

function printReport(stream: NodeJS.WriteStream, report: Report): void {
  const { findingCount, recovered, healed } = report;
  printFacts(stream, [
    ["region", report.source],
    ["state", describeUse(report.state, report.ownerPid)],
    ["scanned", `${report.pages} pages of ${formatSize(report.pageBytes)}, ${plural(report.instances, "instance")}`],
    ["result", describeResult(stream, report)],
  ]);
  const left = Object.entries({ ...recovered, healed }).filter(([, count]) => count > 0);
  if (left.length > 0) {
    const heading = report.provisional ? "Work in progress of the writer, and no damage" : "Normal after a crash";
    print(stream, "", `${heading}${report.provisional ? "" : "; the next open for writing puts it right"}:`);
    printTable(
      stream,
      [{ head: "COUNT", align: "right" }, { head: "WHAT" }],
      left.map(([key, count]) => [String(count), afterCrash[key as keyof typeof afterCrash]]),
    );
  }
  if (findingCount === 0) return;
  print(stream, "", "Corruption:");
  for (const finding of report.findings) print(stream, `  ${describeFinding(finding)}`);
  const untold = findingCount - report.findings.length;
  if (untold > 0) print(stream, `  … and ${untold} more`);
}

/** What a crash may leave behind, by its name in the report. */
const afterCrash = {
  losers: "pages of which another version counts",
  orphans: "pages of runs that were not finished",
  beyondSize: "pages beyond the end of an instance that was cut",
  volatile: "volatile pages, which end with their owner",
  unfinished: "pages of instances not finished or half deleted",
  healed: "records of which one copy counts",
} as const satisfies Record<keyof Analysis["recovered"] | "healed", string>;

function describeResult(stream: NodeJS.WriteStream, { findingCount, provisional }: Report): string {
  if (findingCount > 0) return paint(stream, "red", `corrupt: ${plural(findingCount, "finding")}`);
  const sound = paint(stream, "green", "no corruption");
  return provisional ? `${sound} (provisional: a writer is at work)` : sound;
}
