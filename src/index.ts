/** Perdure: memory that outlives the program that wrote it. */
import { Disks } from "./disk/index.ts";
import { PageRegion } from "./region/index.ts";

/** A memory in the native format, opened, with everything that can live in it. */
export class Region extends PageRegion {
  /** RAM disks. */
  readonly disks: Disks = new Disks(this);
}

export {
  ERRORS,
  type ErrorCode,
  formatSize,
  isPerdureError,
  type LongOptions,
  PerdureError,
  type Progress,
  parseSize,
} from "./base/index.ts";
export type { BlockDevice, Extent } from "./device/index.ts";
export type { Disk, DiskInfo, DiskUsage } from "./disk/index.ts";
export type { Survival } from "./memory/index.ts";
export type {
  DamagedPage,
  DeletedInstance,
  Instance,
  InstanceInfo,
  InstanceOptions,
  InstanceUsage,
  Life,
  Page,
  PageState,
  Quota,
  Recovered,
  RegionHandle,
  RegionInfo,
  RegionOptions,
  RegionUse,
  ScrubOptions,
  ScrubProgress,
  ScrubReport,
  StartKind,
  StartReason,
  StartReport,
} from "./region/index.ts";
export {
  type CheckPlan,
  type CheckReport,
  checkRegion,
  DamagedPageError,
  describeFinding,
  describeMend,
  type Finding,
  type InstanceAtStake,
  type InstanceCondition,
  type InstanceVerdict,
  type Mend,
  type PageCounts,
  type PreflightOutcome,
  type PreflightReport,
  type Problem,
  preflightRegion,
  type RegionAtStake,
  type RepairOptions,
  type RepairReport,
  repairRegion,
} from "./region/index.ts";
