import { crc32 } from "../base/index.ts";
import type { FoundInstance } from "./analysis.ts";
import { columns, describeClaim, isLegalKind, kind, kindOf, ownerOf, revisionOf, syndrome } from "./claim.ts";
import type { FrameEntry } from "./frame-table.ts";
import { checksumBlockBytes, entryBytes } from "./geometry.ts";
import { recordState, regionOwner, regionState } from "./layout.ts";
import { isSound, newerOf } from "./read-directory.ts";
import { limitOf } from "./records.ts";
import { isDirectoryContent } from "./repair-directory.ts";
import type { Patient } from "./repair-patient.ts";
import type { Shelf } from "./repair-shelf.ts";

/** A close checksum covers so many entries. */
const BLOCK_ENTRIES: number = checksumBlockBytes / entryBytes;

/** Pages of metadata say META, whatever stands there. */
export function mendMetadata(patient: Patient): void {
  const pages = [...patient.pagesOf("metadata"), ...patient.pagesOf("check")];
  for (const page of new Set(pages)) if (patient.shape.isMetadata(page)) patient.claimMetadata(page);
}

/** Entries of pages of the directory come first: without them nobody knows which owners there are. */
export function mendDirectoryEntries(patient: Patient): void {
  for (const page of patient.pagesOf("check")) mendEntry(patient, page, kind.directory);
}

/**
 * All other entries: the bit that flipped is flipped back, wherever one is enough. Of the others two are, where the
 * last close tells which. What is left goes to the shelf.
 */
export function mendEntries(patient: Patient, shelf: Shelf): void {
  const pages = Array.from(patient.pagesOf("check"));
  const left = pages.filter((page) => !mendEntry(patient, page));
  // The last close can tell of a block in which one entry is damaged: look anew at what is left.
  if (left.length < pages.length) return;
  const damaged = new Map<number, number>();
  for (const page of left) damaged.set(blockOf(page), (damaged.get(blockOf(page)) ?? 0) + 1);
  for (const page of left) {
    const isAlone = damaged.get(blockOf(page)) === 1;
    if (!isAlone || !mendPair(patient, page)) shelf.put(page, "an entry that is damaged");
  }
}

/** First page of the block of the frame table that the entry of a page is in. */
function blockOf(page: number): number {
  return page - (page % BLOCK_ENTRIES);
}

function mendPair(patient: Patient, page: number): boolean {
  const { memory, shape, analysis } = patient;
  if (analysis.state.state !== regionState.closed || patient.found("list").length > 0) return false;
  const first = blockOf(page);
  const end = Math.min(first + BLOCK_ENTRIES, shape.pages);
  const block = memory.read(shape.entryOffset(first), (end - first) * entryBytes);
  const stored = memory.load32(shape.checksumsOffset + 4 * (first / BLOCK_ENTRIES));
  const words = new Uint32Array(block.buffer, (page - first) * entryBytes, 2);
  const [index, claim] = words;
  const sum = syndrome(page, index, claim);
  for (let one = 0; one < columns.length; one++) {
    for (let two = 0; two < one; two++) {
      if ((columns[one] ^ columns[two]) !== sum) continue;
      words.set([index, claim]);
      for (const bit of [one, two]) words[bit >>> 5] ^= 1 << (bit & 31);
      if (crc32(block) !== stored) continue;
      memory.commit64(shape.entryOffset(page), words[0], words[1]);
      const said = describeClaim(words[0], words[1]);
      patient.did("frame", `bits ${two} and ${one} of its entry flipped back, as the last close left it: ${said}`, {
        page,
      });
      return true;
    }
  }
  return false;
}

// Three flipped bits look like one other, so what the single one gives must make sense where it stands.
function mendEntry(patient: Patient, page: number, wanted?: number): boolean {
  const found = patient.entry(page);
  if (isInZeroes(patient, page, found)) return false;
  const bit = columns.indexOf(syndrome(page, found.index, found.claim));
  if (bit < 0) return false;
  const mended =
    bit < 32
      ? { ...found, index: (found.index ^ (1 << bit)) >>> 0 }
      : { ...found, claim: (found.claim ^ (1 << (bit - 32))) >>> 0 };
  const kindNumber = kindOf(mended.claim);
  if ((wanted !== undefined && kindNumber !== wanted) || !isPlausible(patient, page, mended)) return false;
  patient.claim(page, ownerOf(mended.claim), kindNumber, mended.index, revisionOf(mended.claim));
  const owner = ownerOf(mended.claim);
  const said = describeClaim(mended.index, mended.claim);
  patient.did(
    "frame",
    `bit ${bit} of its entry flipped back: ${said}`,
    owner > regionOwner ? { page, owner } : { page },
  );
  return true;
}

// A stretch of zeroes is no sum of flipped bits, although at some pages it looks like a free one with one of them.
function isInZeroes(patient: Patient, page: number, { index, claim }: FrameEntry): boolean {
  if (index !== 0 || claim !== 0) return false;
  const { pages } = patient.shape;
  return !patient.isSound(page - 1) || (page + 1 < pages && !patient.isSound(page + 1));
}

function isPlausible(patient: Patient, page: number, entry: FrameEntry): boolean {
  const { index, claim } = entry;
  if (!isLegalKind(claim)) return false;
  const kindNumber = kindOf(claim);
  const owner = ownerOf(claim);
  const isPlain = revisionOf(claim) === 0;
  if (kindNumber === kind.free) return owner === 0 && isPlain;
  if (kindNumber === kind.bad) return owner === regionOwner && isPlain;
  if (kindNumber === kind.directory)
    return owner === regionOwner && isPlain && isDirectoryContent(patient, page, index);
  const instance = patient.analysis.instances.get(owner);
  if (instance === undefined) return false;
  if (kindNumber === kind.volatile) return isPlain;
  if (kindNumber === kind.run) return isPlain && isInRun(patient, page, entry);
  if (kindNumber === kind.table) return isPlain && isFreeTable(patient, instance, page, index);
  return kindNumber === kind.data && isFreeName(patient, instance, page, entry);
}

function isInRun(patient: Patient, page: number, entry: FrameEntry): boolean {
  if (patient.isTailAfter(entry, page + 1)) return true;
  const before = patient.entry(page - 1);
  const isPart = kindOf(before.claim) === kind.data || kindOf(before.claim) === kind.run;
  const isSame = ownerOf(before.claim) === ownerOf(entry.claim) && before.index + 1 === entry.index;
  return isPart && isSame && isSound(page - 1, before.index, before.claim);
}

function isFreeTable({ shape }: Patient, instance: FoundInstance, page: number, index: number): boolean {
  const { parent, reach } = instance.record;
  if (parent === 0 || index >= Math.ceil(reach / shape.masksPerPage) || instance.masks.get(index) !== 0) return false;
  instance.masks.set(index, page);
  return true;
}

/** Nobody else claims the name, or the one that a replace leaves beside it. */
function isFreeName(patient: Patient, instance: FoundInstance, page: number, { index, claim }: FrameEntry): boolean {
  const { record, data, ends } = instance;
  if (index >= limitOf(record.sizeBytes, patient.shape.pageBytes)) return false;
  // What a pending one holds is filed nowhere; its pages go back, or go away.
  if (ends) return record.state !== recordState.live;
  const other = data.get(index);
  if (other === 0) data.set(index, page);
  if (other === 0 || other === page) return true;
  const before = patient.entry(other);
  return kindOf(before.claim) === kind.data && newerOf(other, before.claim, page, claim) !== 0;
}
