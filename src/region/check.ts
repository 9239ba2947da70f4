import { setTimeout as sleep } from "node:timers/promises";
import { inTurns, isPerdureError, type LongOptions, type Steps } from "../base/index.ts";
import { attachMemory, formatTypeOf, superblockHead } from "../format/index.ts";
import { Backing, MappedMemory } from "../memory/index.ts";
import { type Analysis, healedOf, type Recovered } from "./analysis.ts";
import { analyzing } from "./analyze.ts";
import { describeFinding, type Finding } from "./findings.ts";
import { formatType } from "./layout.ts";
import { lastOwnerOf, type RegionUse, useOf } from "./lives.ts";
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
  readonly instances: number;
  /** Pages that the next open withdraws, by cause; normal after a crash. */
  readonly recovered: Recovered;
  /** Records whose second copy the next open heals; normal after a crash. */
  readonly healed: number;
  readonly findingCount: number;
  readonly findings: readonly Finding[];
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
    const type = formatTypeOf(memory.read(0, superblockHead.sizeBytes));
    const epochs = readEpochs(memory);
    const analysis = yield* type === formatType ? analyzing(memory) : analyzingNameless(memory);
    const findings = type === formatType ? analysis.findings : [nameless(type), ...analysis.findings];
    const state = useOf(memory, analysis.state);
    return {
      source,
      state,
      ownerPid: lastOwnerOf(analysis.state),
      provisional: state === "open" && !stoodStill(epochs, readEpochs(memory)),
      pages: analysis.geometry.pages,
      pageBytes: analysis.geometry.pageBytes,
      instances: [...analysis.instances.values()].filter(({ ends }) => !ends).length,
      recovered: analysis.recovered,
      healed: healedOf(analysis),
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
function* analyzingNameless(memory: MappedMemory): Steps<Analysis> {
  try {
    return yield* analyzing(memory);
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
