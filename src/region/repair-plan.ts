import { isPerdureError, PerdureError, type Steps } from "../base/index.ts";
import type { Memory } from "../memory/index.ts";
import type { Analysis } from "./analysis.ts";
import { analyze, analyzing, refuseWornOut } from "./analyze.ts";
import { type Finding, Findings } from "./findings.ts";
import { Shape } from "./geometry.ts";
import { PlannedMemory } from "./planned-memory.ts";
import { mendKinds, mendMark, mendNames, mendRuns } from "./repair-claims.ts";
import { eraseAboveMark, forgetClose, mendChecksums, mendMasks } from "./repair-closing.ts";
import { findDirectoryPages, mendDirectoryPages } from "./repair-directory.ts";
import { mendDirectoryEntries, mendEntries, mendMetadata } from "./repair-entries.ts";
import { Mends, Patient } from "./repair-patient.ts";
import {
  completeDirectory,
  mendOwners,
  mendParents,
  mendQuotas,
  mendRecords,
  mendWritableParents,
} from "./repair-records.ts";
import { Shelf } from "./repair-shelf.ts";
import { mendSuperblock } from "./repair-superblock.ts";

/** So many findings are mended between two looks at the whole. */
const FINDINGS_A_ROUND = 100_000;
/** Each round ends what the one before has brought to light; beyond that a plan goes round in circles. */
const ROUNDS = 64;

/**
 * In the order in which one thing depends on another: which owners there are, whom they stand on, what they hold, and
 * last what the close has promised of all that.
 */
const steps: readonly ((patient: Patient, shelf: Shelf) => void)[] = [
  mendMark,
  mendMetadata,
  mendDirectoryEntries,
  findDirectoryPages,
  mendDirectoryPages,
  completeDirectory,
  mendRecords,
  mendOwners,
  mendParents,
  mendWritableParents,
  mendQuotas,
  mendEntries,
  mendKinds,
  mendNames,
  mendRuns,
  mendMasks,
  eraseAboveMark,
  mendChecksums,
  forgetClose,
];

/** A region as it is, and how it could be. Nothing is stored by making one. */
export interface Diagnosis {
  /** What is wrong with the superblock, which was mended in the plan so that the rest could be analysed. */
  readonly superblock: readonly Finding[];
  /** The analysis of all the rest. */
  readonly analysis: Analysis;
  readonly planned: PlannedMemory;
  readonly mends: Mends;
}

/** Reads a region that may be damaged. @throws CORRUPT when too little is left of it; UNSUPPORTED_VERSION */
export function* diagnosing(memory: Memory): Steps<Diagnosis> {
  const planned = new PlannedMemory(memory);
  const mends = new Mends();
  const superblock = mendSuperblock(planned, mends);
  return { superblock, analysis: yield* analyzing(planned), planned, mends };
}

/**
 * Plans on the memory of a diagnosis until an analysis finds nothing any longer.
 *
 * @returns the analysis of the region as it will be
 * @throws CORRUPT when no plan is found
 */
export function planRepair({ planned, mends }: Diagnosis): Analysis {
  for (let round = 0; ; round++) {
    const analysis = analyze(planned, new Findings(FINDINGS_A_ROUND));
    if (round === ROUNDS + Math.ceil(analysis.geometry.pages / FINDINGS_A_ROUND)) break;
    if (analysis.findings.length === 0) {
      refuseWornOut(analysis, planned);
      return analysis;
    }
    const patient = new Patient(planned, new Shape(analysis.geometry), analysis, mends);
    const shelf = new Shelf(patient);
    const before = planned.stores;
    for (const step of steps) {
      step(patient, shelf);
      if (planned.stores !== before) break;
    }
    if (planned.stores === before) break;
  }
  throw new PerdureError("CORRUPT", `${planned.ranges[0].source}: no way was found to repair it`);
}

/** As `planRepair`, for those who only want to know. @returns undefined where no plan is found */
export function tryPlan(diagnosis: Diagnosis): Analysis | undefined {
  try {
    return planRepair(diagnosis);
  } catch (error) {
    if (isPerdureError(error, "CORRUPT")) return undefined;
    throw error;
  }
}
