/** The native format: pages that claim their place. Frames, directory, allocator, recovery, generations, instances. */
import { registerFormat } from "../format/index.ts";
import { nativeFormat } from "./native-format.ts";

registerFormat(nativeFormat());

export type { Recovered } from "./analysis.ts";
export { analyze } from "./analyze.ts";
export type { InstanceCondition, InstanceVerdict, PageCounts } from "./census.ts";
export { type CheckPlan, type CheckReport, checkRegion } from "./check.ts";
export { describeFinding, type Finding, type Problem } from "./findings.ts";
export { Instance } from "./instance.ts";
export type { DeletedInstance, InstanceInfo, InstanceOptions, InstanceUsage } from "./instance-info.ts";
export type { Quota } from "./instance-operations.ts";
export { snapshotRemedy } from "./instance-state.ts";
export type { PageState } from "./layer-view.ts";
export { type Life, type RegionUse, type StartKind, type StartReason, startReasons } from "./lives.ts";
export { type FormatOptions, nativeFormat } from "./native-format.ts";
export { OpenRegion, type StartReport } from "./open-region.ts";
export { Page } from "./page.ts";
export {
  type InstanceAtStake,
  type PreflightOutcome,
  type PreflightReport,
  preflightRegion,
  type RegionAtStake,
} from "./preflight.ts";
export { PageRegion } from "./region.ts";
export type { RegionHandle } from "./region-handle.ts";
export type { RegionInfo } from "./region-info.ts";
export { createRegion, type RegionOptions } from "./region-memory.ts";
export { type RepairOptions, type RepairReport, repairMemory, repairRegion } from "./repair.ts";
export { describeMend, type Mend } from "./repair-patient.ts";
export type { ScrubOptions, ScrubProgress, ScrubReport } from "./scrub.ts";
export { type DamagedPage, DamagedPageError } from "./seals.ts";
