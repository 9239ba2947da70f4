import { accessSync, constants, existsSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { type ErrorCode, isPerdureError, PerdureError } from "../base/index.ts";
import { formatTypeOf, isBlank, superblockHead } from "../format/index.ts";
import { Backing, isDevicePath, MappedMemory } from "../memory/index.ts";
import type { Recovered } from "./analysis.ts";
import { readGeometry } from "./geometry.ts";
import { knownFeatures } from "./layout.ts";
import type { StartKind, StartReason } from "./lives.ts";
import { quarantineRefusal } from "./quarantine.ts";
import { PageRegion } from "./region.ts";
import { failedStartsOf, type ProtectionOptions, validateProtection } from "./start-protection.ts";

/**
 * How a start would go.
 *
 * - `warm`, `recovered`, `cold`: as the start report would say
 * - `in-use`: another process writes to the region
 * - `quarantine`: its starts failed too often in a row
 * - `refused`: with the error that `reason` names
 */
export type PreflightOutcome = StartKind | "in-use" | "quarantine" | "refused";

/** One instance, and what it holds. */
export interface InstanceAtStake {
  readonly subsystem: string;
  readonly name: string;
  readonly allocatedBytes: number;
}

/** What the next start would find in a region. */
export interface RegionAtStake {
  readonly generation: number;
  readonly sizeBytes: number;
  readonly pageBytes: number;
  /** What all instances hold. */
  readonly allocatedBytes: number;
  readonly instances: readonly InstanceAtStake[];
  readonly previousPid: number | undefined;
  /** Pages that the start would withdraw, by cause; normal after a crash. */
  readonly recovered: Recovered;
  readonly healed: number;
}

/** What the next start for writing would come to. */
export interface PreflightReport {
  readonly source: string;
  readonly outcome: PreflightOutcome;
  /** Reason code of the start; or the code of the error that a start without `create` would end with. */
  readonly reason: StartReason | ErrorCode;
  /** One sentence for people. */
  readonly text: string;
  /** What to do, when such a start would end with an error. */
  readonly remedy: string | undefined;
  /** Starts in a row that failed so far; undefined where that cannot be read. */
  readonly failedStarts: number | undefined;
  /** Undefined when the region cannot be read. */
  readonly region: RegionAtStake | undefined;
}

/**
 * Tells how the next start for writing would go, and changes nothing. Works beside a writer.
 *
 * @param options `quarantineAfter` as in an open
 * @throws EINVAL for an option that makes no sense; whatever is wrong with the region stands in the report
 */
export async function preflightRegion(source: string, options: ProtectionOptions = {}): Promise<PreflightReport> {
  validateProtection(options);
  const { quarantineAfter = 0 } = options;
  const first = firstLook(source);
  if (isPerdureError(first)) {
    const outcome = outcomeOf(source, first);
    return withError(source, outcome, first, outcome === "cold" ? 0 : undefined);
  }
  const { failedStarts, hasWriter } = first;
  const found = await secondLook(source);
  const region = isPerdureError(found) ? undefined : found.region;
  // The present start counts until it is healthy; it has not failed yet.
  if (hasWriter) return withError(source, "in-use", inUse(source, region), Math.max(0, failedStarts - 1), region);
  if (quarantineAfter > 0 && failedStarts >= quarantineAfter) {
    return withError(source, "quarantine", quarantineRefusal(source, failedStarts), failedStarts, region);
  }
  if (isPerdureError(found)) return withError(source, "refused", found, failedStarts);
  const { kind, reason, text } = found;
  return { source, outcome: kind, reason, text, remedy: undefined, failedStarts, region: found.region };
}

interface FirstLook {
  readonly failedStarts: number;
  readonly hasWriter: boolean;
}

/** What an open for writing asks before it reads the tables. */
function firstLook(source: string): FirstLook | PerdureError {
  return attempted(() => {
    const memory = new MappedMemory([Backing.open(source, { readOnly: true })]);
    try {
      refuseUnwritable(source);
      if (formatTypeOf(memory.read(0, superblockHead.sizeBytes)) === undefined) {
        if (isBlank(memory)) throw new PerdureError("UNFORMATTED", `${source} is blank`);
        return { failedStarts: 0, hasWriter: memory.hasWriter };
      }
      const failedStarts = failedStartsOf(memory);
      refuseReadOnlyFeatures(memory);
      return { failedStarts, hasWriter: memory.hasWriter };
    } finally {
      memory.close();
    }
  });
}

interface SecondLook {
  readonly kind: StartKind;
  readonly reason: StartReason;
  readonly text: string;
  readonly region: RegionAtStake;
}

/** What a reader finds: the same analysis, without its plan being carried out. */
async function secondLook(source: string): Promise<SecondLook | PerdureError> {
  try {
    using region = await PageRegion.open(source, { readOnly: true });
    const { kind, reason, text, generation, previousPid, recovered, healed } = region.start;
    const { pages, pageBytes } = region.info();
    const instances = region
      .list()
      .map((one) => ({ subsystem: one.subsystem, name: one.name, allocatedBytes: one.pages * pageBytes }));
    const allocatedBytes = instances.reduce((sum, one) => sum + one.allocatedBytes, 0);
    const sizeBytes = pages * pageBytes;
    const found = { generation, sizeBytes, pageBytes, allocatedBytes, instances, previousPid, recovered, healed };
    return { kind, reason, text, region: found };
  } catch (error) {
    if (isPerdureError(error)) return error;
    throw error;
  }
}

function attempted<T>(act: () => T): T | PerdureError {
  try {
    return act();
  } catch (error) {
    if (isPerdureError(error)) return error;
    throw error;
  }
}

// A reader may open what a writer may not.
function refuseUnwritable(source: string): void {
  if (source.startsWith("fd:")) return;
  try {
    accessSync(source, constants.W_OK);
  } catch (cause) {
    throw new PerdureError("EACCES", `${source}: this user may not write to it`, { cause });
  }
}

function refuseReadOnlyFeatures(memory: MappedMemory): void {
  const { readOnlyCompatible } = readGeometry(memory).geometry;
  if ((readOnlyCompatible & ~knownFeatures.readOnlyCompatible) === 0) return;
  throw new PerdureError(
    "UNSUPPORTED_VERSION",
    `${memory.ranges[0].source} uses features with which it can only be read`,
  );
}

/** Where there is nothing yet, `create` makes a region. */
function outcomeOf(source: string, { code }: PerdureError): PreflightOutcome {
  if (code === "UNFORMATTED") return "cold";
  const canBeMade =
    code === "ENOENT" && !source.startsWith("fd:") && !isDevicePath(source) && existsSync(dirname(resolve(source)));
  return canBeMade ? "cold" : "refused";
}

function inUse(source: string, region: RegionAtStake | undefined): PerdureError {
  const who = region?.previousPid === undefined ? "another process" : `process ${region.previousPid}`;
  return new PerdureError("LOCKED", `${source} is open for writing in ${who}`, {
    remedy: "stop that process first: when it closes the region, the next start is warm",
  });
}

function withError(
  source: string,
  outcome: PreflightOutcome,
  { code, message, remedy }: PerdureError,
  failedStarts: number | undefined,
  region?: RegionAtStake,
): PreflightReport {
  return { source, outcome, reason: code, text: message, remedy, failedStarts, region };
}
