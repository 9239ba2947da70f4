import { atOnce, crc32, PerdureError, type Steps } from "../base/index.ts";
import type { Memory } from "../memory/index.ts";
import type { Analysis, Plan, Recovered } from "./analysis.ts";
import { readDual } from "./dual-record.ts";
import { Findings } from "./findings.ts";
import { type FrameBlock, FrameTable, tableProgress } from "./frame-table.ts";
import { FreePages } from "./free-pages.ts";
import { checksumBlockBytes, entryBytes, readGeometry, Shape } from "./geometry.ts";
import {
  lastGeneration,
  lastSequence,
  maxSequence,
  type RegionStateRecord,
  regionState,
  stateLayout,
  stateSlots,
} from "./layout.ts";
import { areMasksSound } from "./masks.ts";
import { ChunkArena } from "./page-table.ts";
import { DirectoryFinder, readRecords, recordsChecksum } from "./read-directory.ts";
import { FrameReader } from "./read-frames.ts";
import { refuseOverpromised, settleLayers } from "./settle-layers.ts";

/**
 * Reads superblock, directory and frame table once and derives everything else. Stores nothing, is bounded by the
 * number of pages, and believes nothing that it has not checked. Opening is recovering: there is no other path.
 *
 * @throws CORRUPT or UNSUPPORTED_VERSION when not even the superblock can be read; all else becomes findings
 */
export function analyze(memory: Memory, findings: Findings = new Findings()): Analysis {
  return atOnce(analyzing(memory, findings));
}

/** `analyze` in steps. */
export function* analyzing(memory: Memory, findings: Findings = new Findings()): Steps<Analysis> {
  const plan: Plan = { heal: [], free: [], freeTails: [], giveBack: [], restate: [], endRecords: [] };
  const recovered: Recovered = { losers: 0, orphans: 0, beyondSize: 0, volatile: 0, unfinished: 0 };
  const { geometry, fromCopy, isTornUpgrade, isCopyStale } = readGeometry(memory);
  const shape = new Shape(geometry);
  if (fromCopy)
    findings.add({
      where: "geometry",
      problem: "geometry",
      expected: "a right CRC",
      found: "damage; the copy was used",
    });
  const { state, loser } = readState(memory, shape);
  const marked = state.marks[0];
  const table = new FrameTable(memory, shape);
  const directory = new DirectoryFinder(shape, marked, findings);
  // A region that was only formatted was never closed: it has no checksums yet.
  const wasClosed = state.state === regionState.closed && state.generation > 0;
  const checksums = wasClosed ? readChecksums(memory, shape, state, findings) : undefined;
  for (const block of table.blocks()) {
    directory.read(block);
    if (checksums !== undefined) verifyChecksums(block, checksums, findings);
    yield tableProgress(shape, block, 1);
  }
  const directoryPages = directory.pages;
  const freePages = new FreePages(shape.pages);
  const arena = new ChunkArena(shape.pages);
  if (wasClosed) verifyDirectory(memory, shape, directoryPages, state, findings);
  const { instances, sequence } = readRecords(memory, shape, directoryPages, plan, findings, arena);
  settleLayers(instances, geometry.version, plan, findings);
  refuseOverpromised(instances, shape.pages, findings);
  const maskPages: number[] = [];
  const derived = { instances, directoryPages, freePages, arena, plan, recovered, findings, maskPages };
  yield* new FrameReader({ table, shape, marked, ...derived }).read();
  verifyMasks(memory, shape, maskPages, findings);
  const masksCrc = masksChecksum(memory, shape, maskPages);
  if (wasClosed && masksCrc !== state.masksCrc)
    findings.add({
      where: "masks",
      problem: "mask-pages",
      expected: `CRC ${state.masksCrc} of all of them`,
      found: `CRC ${masksCrc}`,
    });
  return {
    geometry,
    isTornUpgrade,
    isCopyStale,
    state,
    stateLoser: loser,
    plan,
    recovered,
    findings: findings.list,
    findingCount: findings.count,
    instances,
    directoryPages,
    freePages,
    arena,
    sequence: Math.max(sequence, state.sequence),
  };
}

function readState(memory: Memory, shape: Shape): { state: RegionStateRecord; loser: number | undefined } {
  const a = memory.read(stateSlots.a, stateLayout.sizeBytes);
  const b = memory.read(stateSlots.b, stateLayout.sizeBytes);
  const dual = readDual(stateLayout, stateSlots, a, b);
  const source = memory.ranges[0].source;
  if (dual.kind !== "valid") {
    const why = dual.kind === "corrupt" ? dual.why : "it is blank";
    throw new PerdureError("CORRUPT", `${source}: the state record of the superblock is damaged: ${why}`);
  }
  const state = stateLayout.decode(dual.bytes);
  if (state.state === regionState.repairing) {
    throw new PerdureError("CORRUPT", `${source}: its repair was cut off`, { remedy: "run `perdure check --repair`" });
  }
  if (!makesSense(state, shape))
    throw new PerdureError("CORRUPT", `${source}: the state record of the superblock makes no sense`);
  return { state, loser: dual.loser };
}

/** Whether a state record with a right CRC can be what a writer of this region stored. */
export function makesSense(state: RegionStateRecord, shape: Shape): boolean {
  return (
    (state.state === regionState.open || state.state === regionState.closed) &&
    state.ranges === 1 &&
    state.pages === shape.pages &&
    state.marks[0] <= shape.pages &&
    state.marks[0] >= shape.firstPage &&
    state.generation < 2 ** 32 - 1 &&
    state.sequence < maxSequence
  );
}

/**
 * Refuses a region on whose numbers no writer can count on: the next open would find what makes no sense. Only a forger
 * gets there.
 *
 * @throws CORRUPT
 */
export function refuseWornOut({ state: { generation }, sequence }: Analysis, memory: Memory): void {
  // A repair ends with two records more.
  if (generation < lastGeneration && sequence + 2 < lastSequence) return;
  throw new PerdureError(
    "CORRUPT",
    `${memory.ranges[0].source}: generation ${generation} or sequence ${sequence} was forged: no writer can count on`,
  );
}

/** The checksum of each block of the frame table that lies in `bytes`, in order. */
export function tableChecksums(bytes: Uint8Array): number[] {
  const count = Math.ceil(bytes.length / checksumBlockBytes);
  return Array.from({ length: count }, (_, k) =>
    crc32(bytes.subarray(k * checksumBlockBytes, (k + 1) * checksumBlockBytes)),
  );
}

function verifyDirectory(
  memory: Memory,
  shape: Shape,
  directoryPages: readonly number[],
  state: RegionStateRecord,
  findings: Findings,
): void {
  const sum = recordsChecksum(memory, shape, directoryPages);
  if (sum === state.recordsCrc) return;
  findings.add({
    where: "directory",
    problem: "records",
    expected: `CRC ${state.recordsCrc} of its records`,
    found: `CRC ${sum}`,
  });
}

/** The CRC-32 of pages of masks: after a clean close it tells an older self of one from the truth. */
export function masksChecksum(memory: Memory, shape: Shape, pages: readonly number[]): number {
  const content = new Uint8Array(shape.pageBytes);
  let sum = 0;
  for (const page of pages) {
    memory.readInto(shape.pageOffset(page), content);
    sum = crc32(content, sum);
  }
  return sum;
}

// Each index has two bits that are equal, so a single flip is seen at any time.
function verifyMasks(memory: Memory, shape: Shape, pages: readonly number[], findings: Findings): void {
  const content = new Uint8Array(shape.pageBytes);
  for (const page of pages) {
    memory.readInto(shape.pageOffset(page), content);
    if (areMasksSound(content)) continue;
    findings.add({
      where: "masks",
      problem: "mask",
      page,
      expected: "two equal bits for each index",
      found: "one bit of a pair",
    });
  }
}

function readChecksums(
  memory: Memory,
  shape: Shape,
  state: RegionStateRecord,
  findings: Findings,
): DataView | undefined {
  const stored = memory.read(shape.checksumsOffset, 4 * shape.checksums);
  const sum = crc32(stored);
  if (sum === state.checksumsCrc) return new DataView(stored.buffer, stored.byteOffset);
  findings.add({ where: "checksums", problem: "list", expected: `CRC ${state.checksumsCrc}`, found: `CRC ${sum}` });
  return undefined;
}

// After a clean close an older self of a block of the table is seen; after a crash nothing can tell it from the truth.
function verifyChecksums({ bytes, firstPage }: FrameBlock, checksums: DataView, findings: Findings): void {
  const entries = checksumBlockBytes / entryBytes;
  tableChecksums(bytes).forEach((sum, k) => {
    const page = firstPage + k * entries;
    const expected = checksums.getUint32((4 * page) / entries, true);
    if (sum === expected) return;
    findings.add({
      where: "checksums",
      problem: "block",
      page,
      expected: `CRC ${expected} of ${entries} entries`,
      found: `CRC ${sum}`,
    });
  });
}
