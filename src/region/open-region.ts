import { crc32, isPerdureError, isSealed, PerdureError, type Steps } from "../base/index.ts";
import { fillAcrossWindows, type Memory, ownerIdentity, persist } from "../memory/index.ts";
import { type Analysis, healedOf, type Recovered } from "./analysis.ts";
import { analyzing, masksChecksum, refuseWornOut, tableChecksums } from "./analyze.ts";
import { kind, kindOf } from "./claim.ts";
import { RegionCore } from "./core.ts";
import { Directory } from "./directory.ts";
import { describeFinding } from "./findings.ts";
import { type FrameBlock, FrameTable } from "./frame-table.ts";
import { FrameWriter } from "./frame-writer.ts";
import { writeGeometry } from "./geometry.ts";
import { InstanceOperations } from "./instance-operations.ts";
import { LayerOperations } from "./layer-operations.ts";
import { formatVersion, type RegionStateRecord, regionState, stateLayout, stateSlots } from "./layout.ts";
import { lastOwnerOf, type StartKind, type StartReason, startNumber, startReasons } from "./lives.ts";
import { NoRoomError } from "./no-room.ts";
import { PageOperations } from "./page-operations.ts";
import { asideOf } from "./quarantine.ts";
import { recordsChecksum } from "./read-directory.ts";
import { type Opening, recover, writeLife } from "./recover.ts";
import type { RegionHandle } from "./region-handle.ts";
import { RunOperations } from "./run-operations.ts";
import { livingBeside, type SharedParts, shareParts } from "./shared-parts.ts";
import { writeState } from "./state-record.ts";
import { isThin, ThinChunks } from "./thin-chunks.ts";
import { readEpochs, stoodStill } from "./thread-epoch.ts";

/** The thread that opens a region, in lock words. */
const WRITER = 1;

/** How an open went; in every language of this project the same three words with a reason code. */
export interface StartReport {
  readonly kind: StartKind;
  readonly reason: StartReason;
  /** One sentence for people. */
  readonly text: string;
  readonly generation: number;
  /** Opens in a row, this one included, of which none was healthy so far: closed, or said to go well. */
  readonly failedStarts: number;
  /** Where the region was put aside for which this fresh one stands. */
  readonly quarantined: string | undefined;
  /** Pages that recovery withdrew, by cause. */
  readonly recovered: Recovered;
  /** Dual records whose second slot was healed. */
  readonly healed: number;
  /** Time from the first read to the last store of recovery, ms. */
  readonly openMs: number;
  /** Read beside a writer at work: what is found may be from before and after a change that it was making. */
  readonly provisional: boolean;
  /** The owner before, when there was one. */
  readonly previousPid: number | undefined;
}

/** A region that is open: what the native format hands out. One is made per thread that uses it. */
export class OpenRegion {
  readonly memory: Memory;
  readonly core: RegionCore;
  readonly start: StartReport;
  readonly pages: PageOperations;
  readonly runs: RunOperations;
  readonly instances: InstanceOperations;
  readonly layers: LayerOperations;
  readonly #opening: Opening | undefined;
  readonly #thread: number;

  private constructor(
    memory: Memory,
    core: RegionCore,
    start: StartReport,
    opening: Opening | undefined,
    thread: number,
  ) {
    this.memory = memory;
    this.core = core;
    this.start = start;
    this.#opening = opening;
    this.#thread = thread;
    const writer = new FrameWriter(memory, core, thread);
    this.pages = new PageOperations(writer);
    this.runs = new RunOperations(writer);
    const directory = new Directory(writer);
    this.instances = new InstanceOperations(writer, directory);
    this.layers = new LayerOperations(writer, directory, this.instances);
  }

  /**
   * Analyzes and, when the memory may be written, recovers. Nothing is stored before the last step.
   *
   * @throws CORRUPT, UNSUPPORTED_VERSION, EIO
   */
  static *open(memory: Memory): Steps<OpenRegion> {
    const began = performance.now();
    const before = readEpochs(memory);
    const analysis = yield* analyzing(memory);
    if (analysis.findings.length > 0) throw corruption(analysis, memory);
    const core = RegionCore.open(memory, analysis);
    const reason = reasonOf(memory, analysis.state);
    const opening = memory.readOnly ? undefined : openingOf(analysis.state, reason);
    if (opening !== undefined) {
      refuseWornOut(analysis, memory);
      core.chunks = chunksOf(memory, core);
      recover(memory, core, analysis, opening);
      core.chunks?.start();
    }
    const start: StartReport = {
      kind: startReasons[reason].kind,
      reason,
      text: startReasons[reason].text,
      generation: core.state.generation,
      failedStarts: core.state.failedStarts,
      quarantined: asideOf(memory),
      recovered: analysis.recovered,
      healed: healedOf(analysis),
      openMs: performance.now() - began,
      provisional: reason === "in-use" && !stoodStill(before, readEpochs(memory)),
      previousPid: lastOwnerOf(analysis.state),
    };
    const region = new OpenRegion(memory, core, start, opening, WRITER);
    if (opening !== undefined) region.layers.finishDeleting();
    return region;
  }

  /** What another thread joins with, beside the memory. */
  share(): Omit<RegionHandle, "id" | "memory"> {
    const { core, start } = this;
    core.refuseUnusable();
    core.watch();
    return { geometry: core.geometry, state: core.state, start, buffers: shareParts(core.shared) };
  }

  /** The region that another thread has shared, for this one. @throws POISONED */
  static join(memory: Memory, { geometry, state, start }: RegionHandle, shared: SharedParts): OpenRegion {
    const core = RegionCore.join({ memory, geometry, state, shared });
    core.refuseUnusable();
    return new OpenRegion(memory, core, start, undefined, shared.thread);
  }

  /** The same region for another thread, with that thread's own handle of the memory. */
  forThread(memory: Memory, thread: number): OpenRegion {
    return new OpenRegion(memory, this.core, this.start, undefined, thread);
  }

  /**
   * Runs an operation that needs pages; when there are none, the instances that were deleted longest ago are purged for
   * it. An operation that finds no page has stored nothing, so it is begun anew.
   *
   * @throws ENOSPC when nothing is left to purge; and before that where even all of it would be too little
   */
  withRoom<T>(act: () => T): T {
    for (;;) {
      try {
        return act();
      } catch (error) {
        if (!isPerdureError(error, "ENOSPC")) throw error;
        // With a deleted layer the hidden one below it may go.
        const most = this.core.deletedPages + this.core.hiddenPages;
        if (error instanceof NoRoomError && error.missingPages > most) throw error;
        if (!this.layers.purgeOldest()) throw error;
      }
    }
  }

  /** Raises the format version to that of this program. @throws EBUSY beside other threads; READ_ONLY, POISONED, EIO */
  upgrade(): void {
    const { core, memory } = this;
    core.refuseUnusable();
    if (memory.readOnly) throw new PerdureError("READ_ONLY", `${core.source} was opened read-only`);
    if (core.geometry.version === formatVersion) return;
    const others = livingBeside(core.shared);
    if (others > 0) throw new PerdureError("EBUSY", `${others} other threads have ${core.source} open`);
    const geometry = { ...core.geometry, version: formatVersion };
    try {
      writeGeometry(memory, core.shape, geometry);
    } catch (error) {
      throw core.failed(error);
    }
    core.geometry = geometry;
  }

  /**
   * Looks whether another writer took the region over, which two device nodes of one device make possible: the lock
   * does not see that. A foreign generation poisons this handle.
   *
   * @throws POISONED, MEMORY_LOST
   */
  refuseForeign(): void {
    this.core.refuseUnusable();
    const generation = this.#generationOnMedia();
    if (generation === this.core.state.generation) return;
    this.core.poison(new Error(`generation ${generation} is not ours (${this.core.state.generation})`));
    this.core.refuseUnusable();
  }

  // Behind the lock of the record: another thread may be raising the mark.
  #generationOnMedia(): number {
    return this.#withState(() => {
      const slot = this.memory.bytes(stateSlots.a, stateLayout.sizeBytes);
      const generation = isSealed(slot, stateLayout.fields.crc) ? stateLayout.decode(slot).generation : 0;
      this.memory.refuseLost();
      return generation;
    });
  }

  #withState<T>(act: () => T): T {
    return this.pages.writer.locked(this.core.stateLock, 0, act);
  }

  /**
   * Says that this start went well, so that failed starts are counted from 0 again. Once is enough; a reader has
   * nothing to say.
   *
   * @throws EIO, POISONED, CLOSED
   */
  healthy(): void {
    const { core, memory } = this;
    core.refuseUnusable();
    if (memory.readOnly || core.state.failedStarts === 0) return;
    this.refuseForeign();
    try {
      this.#withState(() => writeState(memory, core, { failedStarts: 0 }));
    } catch (error) {
      throw core.failed(error);
    }
  }

  /**
   * Makes the state "closed", with checksums of the frame table that the next open verifies. A poisoned region stays
   * as it is: the next open recovers it.
   *
   * In a thread that joined others nothing but that thread's use of the region ends.
   *
   * @throws EBUSY while pages are held in this thread, or others have the region open; EIO, MEMORY_LOST, POISONED;
   * ENOENT when the file was deleted meanwhile
   */
  close(): void {
    const { core } = this;
    if (core.closed) return;
    if (core.pins.own > 0) throw new PerdureError("EBUSY", `${core.pins.own} pages of ${core.source} are still held`);
    // What this thread alone can give out.
    core.freePages.waitForHeld();
    if (this.#thread === 1) this.#closeForAll();
    core.closed = true;
    core.shared.threads.leave(this.#thread);
  }

  // The mapping ends with the owner, and with it all views of all threads: so the others go first.
  #closeForAll(): void {
    const { core } = this;
    core.words.beginClose();
    let isClosed = false;
    try {
      const others = livingBeside(core.shared);
      if (others > 0) {
        throw new PerdureError("EBUSY", `${others} other threads have ${core.source} open`, {
          remedy: "close the region in every worker, or end the workers; then close it here",
        });
      }
      if (this.#opening !== undefined && !core.isPoisoned) this.#writeEnd(this.#opening);
      isClosed = true;
    } catch (error) {
      // Closing once more gives the memory up as it is; the next open recovers it.
      if (!isPerdureError(error, "EBUSY")) core.poison(error);
      throw error;
    } finally {
      core.words.endClose(isClosed);
    }
  }

  #writeEnd(opening: Opening): void {
    const { core, memory } = this;
    this.refuseForeign();
    core.chunks?.giveBackAll();
    this.#withState(() => {
      const { shape } = core;
      const sums: number[] = [];
      const masks: number[] = [];
      for (const block of new FrameTable(memory, shape).blocks()) {
        sums.push(...tableChecksums(block.bytes));
        // Another thread may have raised the mark: what this one knows of the state may be old.
        collectMasks(block, core.words.mark, masks);
      }
      const encoded = new Uint8Array(Uint32Array.from(sums).buffer);
      fillAcrossWindows(memory, shape.checksumsOffset, encoded);
      persist(memory, shape.checksumsOffset, encoded.length);
      writeLife(memory, opening, Date.now());
      // Everything before is durable when the record says "closed".
      const checksumsCrc = crc32(encoded);
      const recordsCrc = recordsChecksum(memory, shape, core.directoryPages);
      const masksCrc = masksChecksum(memory, shape, masks);
      writeState(memory, core, { state: regionState.closed, failedStarts: 0, checksumsCrc, recordsCrc, masksCrc });
      memory.sync();
    });
  }
}

function chunksOf(memory: Memory, core: RegionCore): ThinChunks | undefined {
  if (!isThin(core.geometry) || memory.space === undefined) return undefined;
  const use = { mark: core.state.marks[0], reserve: core.reservePages, thread: WRITER };
  return new ThinChunks(memory, core.shape, core.freePages, use);
}

/** Adds the pages of masks of a part of the frame table, which is only good below the mark. */
function collectMasks({ words, firstPage, pages }: FrameBlock, marked: number, masks: number[]): void {
  for (let k = 0; k < Math.min(pages, marked - firstPage); k++)
    if (kindOf(words[2 * k + 1]) === kind.table) masks.push(firstPage + k);
}

function reasonOf(memory: Memory, state: RegionStateRecord): StartReason {
  if (memory.readOnly && memory.hasWriter) return "in-use";
  if (state.generation === 0) return asideOf(memory) === undefined ? "formatted" : "quarantined";
  if (state.state === regionState.closed) return "closed";
  return Buffer.compare(state.bootId, ownerIdentity().bootId) === 0 ? "owner-died" : "machine-restarted";
}

function openingOf(state: RegionStateRecord, reason: StartReason): Opening {
  const identity = ownerIdentity();
  return {
    change: {
      state: regionState.open,
      generation: state.generation + 1,
      failedStarts: state.failedStarts + 1,
      ownerPid: identity.pid,
      ownerStartTicks: identity.startTicks,
      bootId: identity.bootId,
    },
    openedMs: Date.now(),
    start: startNumber(reason),
    reason: startReasons[reason].number,
  };
}

function corruption({ findings, findingCount }: Analysis, memory: Memory): PerdureError {
  const more = findingCount > 1 ? `, and ${findingCount - 1} more findings` : "";
  return new PerdureError("CORRUPT", `${memory.ranges[0].source} is corrupt: ${describeFinding(findings[0])}${more}`);
}
