import { crc32 } from "../base/index.ts";
import { masksChecksum, tableChecksums } from "./analyze.ts";
import { kind, kindOf, ownerOf } from "./claim.ts";
import { FrameTable } from "./frame-table.ts";
import { checksumBlockBytes, entryBytes } from "./geometry.ts";
import { regionState } from "./layout.ts";
import type { Patient } from "./repair-patient.ts";

/** Both bits of each damaged pair are tried in every combination, where the last close left a sum of all masks. */
const MAX_TRIED_PAIRS = 10;
const PAIRS = 0x55555555;

interface Pair {
  /** Offset of its word in the memory. */
  readonly offset: number;
  /** Its place in the word, from 0 to 30. */
  readonly shift: number;
  readonly page: number;
}

/**
 * Masks of which one bit of two is set. After a close the sum of all masks tells which is right. Otherwise the page
 * below shows through, so that nothing is hidden that was there, unless the indices on both sides are masked.
 */
export function mendMasks(patient: Patient): void {
  const { memory, shape } = patient;
  const pairs = Array.from(patient.pagesOf("mask")).flatMap((page) => unequalPairs(patient, page));
  if (triedAll(patient, pairs)) {
    for (const { page } of pairs) patient.did("masks", "a mask is as the last close left it", { page });
    return;
  }
  for (const { page, offset, shift } of pairs) {
    const start = shape.pageOffset(page);
    const within = 4 * (offset - start) + shift / 2;
    const isMasked = (index: number): boolean => {
      if (index < 0 || index >= shape.masksPerPage) return false;
      return ((memory.load32(start + 4 * Math.floor(index / 16)) >>> (2 * (index % 16))) & 3) === 3;
    };
    const isSet = isMasked(within - 1) && isMasked(within + 1);
    setPair(patient, { page, offset, shift }, isSet);
    const { index, claim } = patient.entry(page);
    const how = isSet ? "is masked, as those beside it" : "shows the layer below again";
    const text = `index ${index * shape.masksPerPage + within} ${how}`;
    patient.did("masks", text, { page, owner: ownerOf(claim), isLoss: true });
  }
}

function unequalPairs({ memory, shape }: Patient, page: number): Pair[] {
  const pairs: Pair[] = [];
  for (let at = 0; at < shape.pageBytes; at += 4) {
    const offset = shape.pageOffset(page) + at;
    const word = memory.load32(offset);
    for (let differ = (word ^ (word >>> 1)) & PAIRS; differ !== 0; differ &= differ - 1) {
      pairs.push({ page, offset, shift: 31 - Math.clz32(differ & -differ) });
    }
  }
  return pairs;
}

function setPair({ memory }: Patient, { offset, shift }: Pair, isSet: boolean): void {
  const word = memory.load32(offset) & ~(3 << shift);
  memory.commit32(offset, (isSet ? word | (3 << shift) : word) >>> 0);
}

/** @returns whether a combination gives the sum that the last close left */
function triedAll(patient: Patient, pairs: readonly Pair[]): boolean {
  const { state } = patient.analysis;
  if (state.state !== regionState.closed || pairs.length === 0 || pairs.length > MAX_TRIED_PAIRS) return false;
  const pages = maskPagesOf(patient);
  for (let choice = 0; choice < 2 ** pairs.length; choice++) {
    for (const [k, pair] of pairs.entries()) setPair(patient, pair, ((choice >>> k) & 1) === 1);
    if (masksChecksum(patient.memory, patient.shape, pages) === state.masksCrc) return true;
  }
  return false;
}

function maskPagesOf({ memory, shape, mark }: Patient): number[] {
  const pages: number[] = [];
  for (const { firstPage, pages: count, words } of new FrameTable(memory, shape).blocks()) {
    for (let k = 0; k < Math.min(count, mark - firstPage); k++)
      if (kindOf(words[2 * k + 1]) === kind.table) pages.push(firstPage + k);
  }
  return pages;
}

/**
 * A part of the frame table that is not as the last close left it, although every claim is sound: entries above the
 * mark count nothing and are zero where none was written.
 */
export function eraseAboveMark(patient: Patient): void {
  const { memory, shape, mark } = patient;
  for (const first of patient.pagesOf("block")) {
    const end = Math.min(first + checksumBlockBytes / entryBytes, shape.pages);
    const start = shape.entryOffset(Math.max(first, mark));
    const length = shape.entryOffset(end) - start;
    if (length <= 0) continue;
    const block = memory.read(shape.entryOffset(first), (end - first) * entryBytes);
    const zeroed = block.slice();
    zeroed.fill(0, block.length - length);
    const stored = memory.load32(shape.checksumsOffset + (4 * first * entryBytes) / checksumBlockBytes);
    if (crc32(zeroed) !== stored || Buffer.compare(block, zeroed) === 0) continue;
    memory.zero(start, length);
    patient.did("frame", "entries above the high-water mark are zero again, as the last close left them", {
      page: first,
    });
  }
}

/** The list of checksums is made anew where the table is the one that the last close left. */
export function mendChecksums(patient: Patient): void {
  const { memory, shape, analysis } = patient;
  if (patient.found("list").length === 0) return;
  const sums: number[] = [];
  for (const { bytes } of new FrameTable(memory, shape).blocks()) sums.push(...tableChecksums(bytes));
  const list = new Uint8Array(Uint32Array.from(sums).buffer);
  if (crc32(list) !== analysis.state.checksumsCrc) return;
  memory.fill(shape.checksumsOffset, list);
  patient.did("checksums", "the list is made anew, and its sum is that of the last close");
}

/**
 * Sums of the last close that do not match although all else is sound: something is an older self, or was mended in
 * another way. Nobody can tell what, so the region counts as one that was not closed.
 */
export function forgetClose(patient: Patient): void {
  const wrong = {
    block: "the frame table",
    list: "the frame table",
    records: "the directory",
    "mask-pages": "the masks of layers",
  } as const;
  const places = Object.entries(wrong).filter(([problem]) => patient.found(problem as keyof typeof wrong).length > 0);
  if (places.length === 0) return;
  const what = Array.from(new Set(places.map(([, place]) => place))).join(", ");
  patient.writeState({ state: regionState.open, checksumsCrc: 0, recordsCrc: 0, masksCrc: 0 });
  patient.did("state", `not closed any longer: ${what} differs from what the last close left`, { isLoss: true });
}
