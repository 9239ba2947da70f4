import { seal } from "../base/index.ts";
import { type Memory, persist } from "../memory/index.ts";
import type { Analysis } from "./analysis.ts";
import { makeClaim, revisionOf } from "./claim.ts";
import type { RegionCore } from "./core.ts";
import { FrameWriter } from "./frame-writer.ts";
import { encodeGeometry, writeGeometry, writeGeometryCopy } from "./geometry.ts";
import {
  epochsLayout,
  lifeLayout,
  maxLives,
  type RegionStateRecord,
  recordLayout,
  stateSlots,
  superblockOffsets,
} from "./layout.ts";
import { blankRecord, writeRecord } from "./records.ts";
import { writeState } from "./state-record.ts";

/** What the new owner writes about itself. */
export interface Opening {
  readonly change: Pick<
    RegionStateRecord,
    "state" | "generation" | "failedStarts" | "ownerPid" | "ownerStartTicks" | "bootId"
  >;
  readonly openedMs: number;
  readonly start: number;
  readonly reason: number;
}

/**
 * Makes the media agree with the analysis: the first stores of a writer. May itself be killed anywhere and begun anew.
 *
 * @throws EIO; the region must then be opened again
 */
export function recover(memory: Memory, core: RegionCore, analysis: Analysis, opening: Opening): void {
  // The dead owner may have left stores in caches: nothing may build on them before they are durable.
  memory.flushAll();
  memory.fence();
  // The state "open" is durable before any other store, so that what a close promised is not believed any longer.
  writeState(memory, core, opening.change, analysis.stateLoser ?? stateSlots.a);
  writeLife(memory, opening, 0);
  if (analysis.isTornUpgrade) writeGeometry(memory, core.shape, analysis.geometry);
  if (analysis.isCopyStale) writeGeometryCopy(memory, core.shape, encodeGeometry(analysis.geometry));
  // The dead owner's threads may have left them odd: scans would wait for ever.
  memory.zero(superblockOffsets.epochs, epochsLayout.sizeBytes);
  const writer = new FrameWriter(memory, core, 1);
  writer.epoch.enter();
  writer.epoch.change();
  healRecords(memory, analysis);
  restateRecords(memory, core, analysis);
  giveBack(writer, analysis);
  freePages(writer, analysis.plan.free);
  freePages(writer, analysis.plan.freeTails);
  endRecords(memory, core, analysis);
  writer.epoch.leave();
}

/** Writes the entry of a generation in the table of lives; at the close once more, with its end. */
export function writeLife(memory: Memory, opening: Opening, closedMs: number): void {
  const { change } = opening;
  const encoded = lifeLayout.encode({
    generation: change.generation,
    pid: change.ownerPid,
    openedMs: opening.openedMs,
    closedMs,
    start: opening.start,
    reason: opening.reason,
    bootId: change.bootId,
  });
  const offset = superblockOffsets.lives + (change.generation % maxLives) * lifeLayout.sizeBytes;
  memory.fill(offset, seal(encoded, lifeLayout.fields.crc));
  persist(memory, offset, lifeLayout.sizeBytes);
}

// Must come before any record is rewritten: a rewrite begins with the slot that does not count.
function healRecords(memory: Memory, analysis: Analysis): void {
  for (const { winner, loser } of analysis.plan.heal) {
    if (winner === undefined) memory.zero(loser, recordLayout.sizeBytes);
    else memory.fill(loser, memory.bytes(winner, recordLayout.sizeBytes).slice());
    memory.flush(loser, recordLayout.sizeBytes);
  }
  memory.fence();
}

// A snapshot that was committed becomes whole, and the loser of a name says that it has none.
function restateRecords(memory: Memory, core: RegionCore, analysis: Analysis): void {
  for (const owner of analysis.plan.restate) {
    const instance = core.instances.get(owner);
    if (instance !== undefined) instance.known = writeRecord(memory, core, instance.known);
  }
}

function giveBack(writer: FrameWriter, analysis: Analysis): void {
  for (const { page, index, kind, owner } of analysis.plan.giveBack) {
    const offset = writer.core.shape.entryOffset(page);
    const revision = revisionOf(writer.claimOf(page));
    writer.memory.commit64(offset, index, makeClaim(page, index, kind, revision, owner));
    writer.memory.flush(offset, 8);
  }
  writer.fence();
}

function freePages(writer: FrameWriter, pages: readonly number[]): void {
  for (const page of pages) writer.withdraw(page);
  writer.fence();
  for (const page of pages) writer.core.freePages.release(page);
}

// A record becomes free last: as long as one of its pages is claimed, its owner must exist.
function endRecords(memory: Memory, core: RegionCore, analysis: Analysis): void {
  for (const owner of analysis.plan.endRecords) writeRecord(memory, core, blankRecord(owner));
}
