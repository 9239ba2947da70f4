import { crc32, PerdureError } from "../base/index.ts";
import type { Memory } from "../memory/index.ts";
import type { Analysis, Plan, Recovered } from "./analysis.ts";
import { kind, kindOf } from "./claim.ts";
import { readDual } from "./dual-record.ts";
import { Findings } from "./findings.ts";
import { FreePages } from "./free-pages.ts";
import { checksumBlockBytes, readGeometry, Shape } from "./geometry.ts";
import { type RegionStateRecord, regionState, stateLayout, superblockOffsets } from "./layout.ts";
import { ChunkArena } from "./page-table.ts";
import { findDirectory, readRecords } from "./read-directory.ts";
import { FrameReader } from "./read-frames.ts";

export const stateSlots = { a: superblockOffsets.recordA, b: superblockOffsets.recordB } as const;

/**
 * Reads superblock, directory and frame table once and derives everything else. Stores nothing, is bounded by the
 * number of pages, and believes nothing that it has not checked. Opening is recovering: there is no other path.
 *
 * @throws CORRUPT or UNSUPPORTED_VERSION when not even the superblock can be read; all else becomes findings
 */
export function analyze(memory: Memory): Analysis {
  const findings = new Findings();
  const plan: Plan = { heal: [], free: [], freeTails: [], giveBack: [], endRecords: [] };
  const recovered: Recovered = { losers: 0, orphans: 0, beyondSize: 0, volatile: 0, unfinished: 0 };
  const { geometry, fromCopy } = readGeometry(memory);
  const shape = new Shape(geometry);
  if (fromCopy) findings.add({ where: "geometry", expected: "a right CRC", found: "damage; the copy was used" });
  const { state, loser } = readState(memory, shape);
  const words = readTable(memory, shape);
  const marked = state.marks[0];
  // A region that was only formatted was never closed: it has no checksums yet.
  if (state.state === regionState.closed && state.generation > 0)
    verifyChecksums(memory, shape, state, words, findings);
  verifyMetadata(shape, marked, words, findings);
  const directoryPages = findDirectory(words, marked, plan, findings);
  const { instances, sequence } = readRecords(memory, shape, directoryPages, plan, findings);
  const freePages = new FreePages(shape.pages);
  const arena = new ChunkArena();
  const scan = { words, shape, marked, instances, directoryPages, freePages, arena, plan, recovered, findings };
  new FrameReader(scan).read();
  return {
    geometry,
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
  const sound =
    (state.state === regionState.open || state.state === regionState.closed) &&
    state.ranges === 1 &&
    state.pages === shape.pages &&
    state.marks[0] <= shape.pages &&
    state.marks[0] >= shape.firstPage &&
    !Number.isNaN(state.sequence);
  if (!sound) throw new PerdureError("CORRUPT", `${source}: the state record of the superblock makes no sense`);
  return { state, loser: dual.loser };
}

function readTable(memory: Memory, shape: Shape): Uint32Array {
  const table = memory.read(shape.tableOffset, shape.tableBytes);
  return new Uint32Array(table.buffer, table.byteOffset, shape.tableBytes >>> 2);
}

/** The checksum of every block of the frame table, in order. */
export function tableChecksums(table: Uint8Array): Uint32Array {
  const blocks = Math.ceil(table.length / checksumBlockBytes);
  return Uint32Array.from({ length: blocks }, (_, k) =>
    crc32(table.subarray(k * checksumBlockBytes, Math.min((k + 1) * checksumBlockBytes, table.length))),
  );
}

// After a clean close an older self of a block of the table is seen; after a crash nothing can tell it from the truth.
function verifyChecksums(
  memory: Memory,
  shape: Shape,
  state: RegionStateRecord,
  words: Uint32Array,
  findings: Findings,
): void {
  const stored = memory.read(shape.checksumsOffset, 4 * shape.checksums);
  if (crc32(stored) !== state.checksumsCrc) {
    findings.add({ where: "checksums", expected: `CRC ${state.checksumsCrc}`, found: `CRC ${crc32(stored)}` });
    return;
  }
  const now = tableChecksums(new Uint8Array(words.buffer, words.byteOffset, words.byteLength));
  const then = new DataView(stored.buffer, stored.byteOffset);
  now.forEach((sum, block) => {
    const expected = then.getUint32(4 * block, true);
    const page = (block * checksumBlockBytes) / 8;
    if (sum !== expected) {
      findings.add({ where: "checksums", page, expected: `CRC ${expected} of 512 entries`, found: `CRC ${sum}` });
    }
  });
}

function verifyMetadata(shape: Shape, marked: number, words: Uint32Array, findings: Findings): void {
  const verify = (page: number): void => {
    if (page >= marked || kindOf(words[2 * page + 1]) === kind.meta) return;
    findings.add({ where: "frame", page, expected: "META, since the page is metadata", found: "another claim" });
  };
  for (let page = 0; page < shape.firstPage; page++) verify(page);
  verify(shape.lastPage);
}
