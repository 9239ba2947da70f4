import { atOnce, isPerdureError, PerdureError, type Steps } from "../base/index.ts";
import { attachMemory, formatTypeOf, superblockHead } from "../format/index.ts";
import { Backing, MappedMemory, type Memory } from "../memory/index.ts";
import { analyze, refuseWornOut } from "./analyze.ts";
import { type InstanceVerdict, takeCensus } from "./census.ts";
import { readGeometry, Shape } from "./geometry.ts";
import type { Mend } from "./repair-patient.ts";
import { type Diagnosis, diagnosing, planRepair } from "./repair-plan.ts";
import { storeRepair } from "./repair-store.ts";

/** How a region is opened to be repaired. */
export interface RepairOptions {
  /** Accept a file that belongs to another user or that others may write. */
  readonly trustFile?: boolean;
}

/** What a repair did. */
export interface RepairReport {
  readonly source: string;
  /** How many things were wrong. Without any nothing was stored. */
  readonly findingCount: number;
  /** All that was done, the first 1000 of it in `mends`. */
  readonly mendCount: number;
  /** How much of that is a loss: something is not as it was, or nobody can tell whether it is. */
  readonly lossCount: number;
  readonly mends: readonly Mend[];
  /** Every instance as it is now. */
  readonly instances: readonly InstanceVerdict[];
}

/**
 * Repairs a region as far as it can be, and keeps all that can be kept: what has no place any longer is moved into
 * instances of the subsystem "rescued". Without damage it stores nothing. When it is cut off, a kill or a power cut
 * leaves a region that nobody opens and that the next repair finishes.
 *
 * @throws what opening a backing throws, LOCKED among it; UNFORMATTED, FOREIGN_DATA, UNKNOWN_FORMAT,
 * UNSUPPORTED_VERSION; CORRUPT when too little is left to repair, ENOSPC when there is no room for what is to be
 * stored, and then nothing was stored; EIO
 */
export async function repairRegion(source: string, options: RepairOptions = {}): Promise<RepairReport> {
  // What is read has no need of memory, and what is stored gets it.
  const memory = new MappedMemory([Backing.open(source, { ...options, keepHoles: true })]);
  try {
    return repairMemory(memory);
  } finally {
    memory.close();
  }
}

/** Repairs the region in a memory of the caller, who has it for itself. */
export function repairMemory(memory: Memory): RepairReport {
  const diagnosis = atOnce(diagnosingRegion(memory));
  const { superblock, analysis, planned, mends } = diagnosis;
  const { source } = memory.ranges[0];
  const findingCount = superblock.length + analysis.findingCount;
  if (findingCount > 0) {
    // Refuses what may only be read: nobody knows what else stands there.
    readGeometry(memory);
    const { sequence } = planRepair(diagnosis);
    storeRepair(memory, planned, new Shape(analysis.geometry), analysis.state, sequence);
  }
  const after = findingCount > 0 ? analyze(memory) : analysis;
  refuseWornOut(after, memory);
  if (after.findingCount > 0) throw new PerdureError("EIO", `${source} did not keep what its repair has stored`);
  const { instances } = takeCensus(memory, after);
  return { source, findingCount, mendCount: mends.count, lossCount: mends.losses, mends: mends.list, instances };
}

/** Reads a region that may be damaged; what is none is told as what it looks like. */
export function* diagnosingRegion(memory: Memory): Steps<Diagnosis> {
  try {
    return yield* diagnosing(memory);
  } catch (error) {
    const isNameless = formatTypeOf(memory.read(0, superblockHead.sizeBytes)) === undefined;
    if (isPerdureError(error) && isNameless) attachMemory(memory).detach();
    throw error;
  }
}
