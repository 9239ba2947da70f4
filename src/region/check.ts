import { setTimeout as sleep } from "node:timers/promises";
import { inTurns, type LongOptions, type Steps } from "../base/index.ts";
import { Backing, MappedMemory } from "../memory/index.ts";
import { healedOf, type Recovered } from "./analysis.ts";
import { type InstanceVerdict, type PageCounts, takeCensus } from "./census.ts";
import { describeFinding, type Finding } from "./findings.ts";
import { lastOwnerOf, type RegionUse, useOf } from "./lives.ts";
import { diagnosingRegion } from "./repair.ts";
import type { Mend } from "./repair-patient.ts";
import { tryPlan } from "./repair-plan.ts";
import { readEpochs, stoodStill } from "./thread-epoch.ts";

/** Beside a writer at work, only what stands in every one of these scans is reported. */
const SCANS_BESIDE_WRITER = 5;
const SCAN_PAUSE_MS = 50;

/** What a check found. */
export interface CheckReport {
  readonly source: string;
  readonly state: RegionUse;
  readonly ownerPid: number | undefined;
  /** A writer changed something during every scan: what was found may be from before and after a change. */
  readonly provisional: boolean;
  readonly pages: number;
  readonly pageBytes: number;
  /** Every instance, with what concerns it. */
  readonly instances: readonly InstanceVerdict[];
  /** Pages by kind; with those whose entry is damaged, and those above the high-water mark. */
  readonly pageCounts: PageCounts & { readonly unreadable: number; readonly unused: number };
  /** Pages that the next open withdraws, by cause; normal after a crash. */
  readonly recovered: Recovered;
  /** Records whose second copy the next open heals; normal after a crash. */
  readonly healed: number;
  readonly findingCount: number;
  readonly findings: readonly Finding[];
  /** What a repair would do; undefined without findings, beside a writer, and where nothing can be done. */
  readonly plan: CheckPlan | undefined;
}

/** What a repair would do. */
export interface CheckPlan {
  /** All of it, the first 1000 in `mends`. */
  readonly mendCount: number;
  /** How much of that is a loss. */
  readonly lossCount: number;
  readonly mends: readonly Mend[];
}

/**
 * Looks for what no crash leaves behind, without storing anything. A scan can meet a writer in the middle of a change:
 * then it is repeated, and when none stood still what does not stay is dropped.
 *
 * @throws what opening a backing throws; ABORTED, UNFORMATTED, FOREIGN_DATA, UNKNOWN_FORMAT, UNSUPPORTED_VERSION;
 * CORRUPT when not even the superblock can be read
 */
export async function checkRegion(source: string, options: LongOptions = {}): Promise<CheckReport> {
  let report = await inTurns(scan(source), options);
  for (let scans = 1; scans < SCANS_BESIDE_WRITER && report.provisional; scans++) {
    await sleep(SCAN_PAUSE_MS);
    const next = await inTurns(scan(source), options);
    if (!next.provisional) return next;
    const before = new Set(report.findings.map(describeFinding));
    const findings = next.findings.filter((finding) => before.has(describeFinding(finding)));
    report = { ...next, findings, findingCount: findings.length };
  }
  return report;
}

function* scan(source: string): Steps<CheckReport> {
  const memory = new MappedMemory([Backing.open(source, { readOnly: true })]);
  try {
    const epochs = readEpochs(memory);
    const diagnosis = yield* diagnosingRegion(memory);
    const { analysis, superblock, mends, planned } = diagnosis;
    const findings = [...superblock, ...analysis.findings];
    const state = useOf(memory, analysis.state);
    const { counts, unreadable, unused, instances } = takeCensus(planned, analysis);
    const isPlanned = findings.length > 0 && state !== "open" && tryPlan(diagnosis) !== undefined;
    return {
      source,
      state,
      ownerPid: lastOwnerOf(analysis.state),
      provisional: state === "open" && !stoodStill(epochs, readEpochs(memory)),
      pages: analysis.geometry.pages,
      pageBytes: analysis.geometry.pageBytes,
      instances,
      pageCounts: { ...counts, unreadable, unused },
      recovered: analysis.recovered,
      healed: healedOf(analysis),
      findingCount: analysis.findingCount + superblock.length,
      findings,
      plan: isPlanned ? { mendCount: mends.count, lossCount: mends.losses, mends: mends.list } : undefined,
    };
  } finally {
    memory.close();
  }
}
