import { crc32, isSealed, PerdureError, type Steps } from "../base/index.ts";
import { fillAcrossWindows, type Memory, ownerIdentity, persist } from "../memory/index.ts";
import { type Analysis, healedOf, type Recovered } from "./analysis.ts";
import { analyzing, tableChecksums } from "./analyze.ts";
import { RegionCore } from "./core.ts";
import { describeFinding } from "./findings.ts";
import { FrameTable } from "./frame-table.ts";
import { FrameWriter } from "./frame-writer.ts";
import { InstanceOperations } from "./instance-operations.ts";
import { type RegionStateRecord, regionState, stateLayout, stateSlots } from "./layout.ts";
import { lastOwnerOf, type StartKind, type StartReason, startNumber, startReasons } from "./lives.ts";
import { acquire, release } from "./locks.ts";
import { PageOperations } from "./page-operations.ts";
import { recordsChecksum } from "./read-directory.ts";
import { type Opening, recover, writeLife } from "./recover.ts";
import { RunOperations } from "./run-operations.ts";
import { writeState } from "./state-record.ts";
import { isThin, ThinChunks } from "./thin-chunks.ts";

/** The thread that opens a region, in lock words. */
const WRITER = 1;

/** How an open went; in every language of this project the same three words with a reason code. */
export interface StartReport {
  readonly kind: StartKind;
  readonly reason: StartReason;
  /** One sentence for people. */
  readonly text: string;
  readonly generation: number;
  /** Opens in a row, this one included, that were not followed by a close. */
  readonly failedStarts: number;
  /** Pages that recovery withdrew, by cause. */
  readonly recovered: Recovered;
  /** Dual records whose second slot was healed. */
  readonly healed: number;
  /** Time from the first read to the last store of recovery, ms. */
  readonly openMs: number;
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
    this.instances = new InstanceOperations(writer);
  }

  /**
   * Analyzes and, when the memory may be written, recovers. Nothing is stored before the last step.
   *
   * @throws CORRUPT, UNSUPPORTED_VERSION, EIO
   */
  static *open(memory: Memory): Steps<OpenRegion> {
    const began = performance.now();
    const analysis = yield* analyzing(memory);
    if (analysis.findings.length > 0) throw corruption(analysis, memory);
    const core = new RegionCore(analysis, memory.ranges[0].source);
    const reason = reasonOf(memory, analysis.state);
    const opening = memory.readOnly ? undefined : openingOf(analysis.state, reason);
    if (opening !== undefined) {
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
      recovered: analysis.recovered,
      healed: healedOf(analysis),
      openMs: performance.now() - began,
      previousPid: lastOwnerOf(analysis.state),
    };
    return new OpenRegion(memory, core, start, opening, WRITER);
  }

  /** The same region for another thread, with that thread's own handle of the memory. */
  forThread(memory: Memory, thread: number): OpenRegion {
    return new OpenRegion(memory, this.core, this.start, undefined, thread);
  }

  /**
   * Looks whether another writer took the region over, which two device nodes of one device make possible: the lock
   * does not see that. A foreign generation poisons this handle.
   *
   * @throws POISONED
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
    acquire(this.core.stateLock, 0, this.#thread);
    try {
      const slot = this.memory.bytes(stateSlots.a, stateLayout.sizeBytes);
      return isSealed(slot, stateLayout.fields.crc) ? stateLayout.decode(slot).generation : 0;
    } finally {
      release(this.core.stateLock, 0);
    }
  }

  /**
   * Makes the state "closed", with checksums of the frame table that the next open verifies. A poisoned region stays
   * as it is: the next open recovers it.
   *
   * @throws EBUSY while pages are held; EIO, POISONED
   */
  close(): void {
    const { core } = this;
    if (core.closed) return;
    if (core.pins.size > 0) throw new PerdureError("EBUSY", `${core.pins.size} pages of ${core.source} are still held`);
    try {
      if (this.#opening !== undefined && !core.isPoisoned) this.#writeEnd(this.#opening);
    } catch (error) {
      // Closing once more gives the memory up as it is; the next open recovers it.
      throw core.failed(error);
    }
    core.closed = true;
  }

  #writeEnd(opening: Opening): void {
    const { core, memory } = this;
    this.refuseForeign();
    core.chunks?.giveBackAll();
    acquire(core.stateLock, 0, this.#thread);
    try {
      const { shape } = core;
      const sums: number[] = [];
      for (const { bytes } of new FrameTable(memory, shape).blocks()) sums.push(...tableChecksums(bytes));
      const encoded = new Uint8Array(Uint32Array.from(sums).buffer);
      fillAcrossWindows(memory, shape.checksumsOffset, encoded);
      persist(memory, shape.checksumsOffset, encoded.length);
      writeLife(memory, opening, Date.now());
      // Everything before is durable when the record says "closed".
      const checksumsCrc = crc32(encoded);
      const recordsCrc = recordsChecksum(memory, shape, core.directoryPages);
      writeState(memory, core, { state: regionState.closed, failedStarts: 0, checksumsCrc, recordsCrc });
      memory.sync();
    } finally {
      release(core.stateLock, 0);
    }
  }
}

function chunksOf(memory: Memory, core: RegionCore): ThinChunks | undefined {
  if (!isThin(core.geometry) || memory.space === undefined) return undefined;
  const use = { mark: core.state.marks[0], reserve: core.reservePages, thread: WRITER };
  return new ThinChunks(memory, core.shape, core.freePages, use);
}

function reasonOf(memory: Memory, state: RegionStateRecord): StartReason {
  if (memory.readOnly && memory.hasWriter) return "in-use";
  if (state.generation === 0) return "formatted";
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
