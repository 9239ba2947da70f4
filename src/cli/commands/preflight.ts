import { ERRORS, formatSize, PerdureError } from "../../base/index.ts";
import { type PreflightReport, preflightRegion } from "../../region/index.ts";
import type { CliContext } from "../context.ts";
import { paint, plural, print, printable, printFacts, printJson, printTable } from "../output.ts";
import { defaultQuarantineAfter } from "../parameters.ts";

/** `perdure preflight`: how the next start would go. */
export async function preflight(
  context: CliContext,
  flags: { quarantineAfter?: number; json?: boolean },
  source: string,
): Promise<void | PerdureError> {
  const { stdout } = context.process;
  const quarantineAfter = flags.quarantineAfter ?? defaultQuarantineAfter;
  const report = await preflightRegion(source, { quarantineAfter });
  if (flags.json === true) printJson(stdout, report);
  else printReport(stdout, report, quarantineAfter);
  const { reason, text, remedy } = report;
  if (reason in ERRORS)
    return new PerdureError(reason as keyof typeof ERRORS, text, remedy === undefined ? {} : { remedy });
}

function printReport(stream: NodeJS.WriteStream, report: PreflightReport, quarantineAfter: number): void {
  const { source, region, failedStarts } = report;
  const failed = failedStarts === undefined ? "unknown" : `${failedStarts} in a row`;
  const limit = quarantineAfter === 0 ? "" : `; quarantine after ${quarantineAfter}`;
  printFacts(stream, [
    ["region", source],
    ["next start", describeOutcome(stream, report)],
    ["because", describeReason(report)],
    ["failed starts", `${failed}${limit}`],
    ["at stake", describeStake(report)],
    ...(region === undefined ? [] : describeRecovery(region)),
  ]);
  if (region === undefined || region.instances.length === 0) return;
  print(stream, "");
  printTable(
    stream,
    [{ head: "SUBSYSTEM" }, { head: "NAME" }, { head: "ALLOCATED", align: "right" }],
    region.instances.map((one) => [one.subsystem, printable(one.name), formatSize(one.allocatedBytes)]),
  );
}

const colors = {
  warm: "green",
  recovered: "green",
  cold: "yellow",
  "in-use": "yellow",
  quarantine: "red",
  refused: "red",
} as const;

function describeOutcome(stream: NodeJS.WriteStream, { outcome, reason }: PreflightReport): string {
  return `${paint(stream, colors[outcome], outcome)} (${reason})`;
}

/** The error that follows the report names the region and says the rest. */
function describeReason({ outcome, reason, text, region }: PreflightReport): string {
  switch (reason) {
    case "ENOENT":
      if (outcome === "cold") return "nothing is there; --create makes it";
      break;
    case "UNFORMATTED":
      return "nothing stands there yet; --create formats it";
    case "LOCKED":
      return "a writer is at work; when it closes the region, a start is warm";
    case "QUARANTINED":
      return "with --create it is put aside and a fresh one made, else refused";
    default:
  }
  if (reason in ERRORS) return ERRORS[reason as keyof typeof ERRORS].text;
  return region?.previousPid === undefined ? text : `${text} (process ${region.previousPid})`;
}

function describeStake({ outcome, region }: PreflightReport): string {
  if (region === undefined) return outcome === "cold" ? "nothing" : "unknown: it cannot be read";
  const { allocatedBytes, instances, sizeBytes } = region;
  return `${formatSize(allocatedBytes)} in ${plural(instances.length, "instance")}, of ${formatSize(sizeBytes)}`;
}

function describeRecovery({ recovered, healed }: NonNullable<PreflightReport["region"]>): [string, string][] {
  const pages = Object.values<number>({ ...recovered }).reduce((sum, count) => sum + count, 0);
  if (pages + healed === 0) return [];
  return [["recovery", `withdraws ${plural(pages, "page")} of unfinished work, heals ${plural(healed, "record")}`]];
}
