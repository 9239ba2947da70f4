import { crc32, PerdureError } from "../base/index.ts";
import { type Memory, persist } from "../memory/index.ts";
import { kind, kindOf, ownerOf } from "./claim.ts";
import type { RegionCore } from "./core.ts";
import { readEntry } from "./frame-table.ts";
import type { FrameWriter } from "./frame-writer.ts";
import { type Shape, sealBytes } from "./geometry.ts";

// The seal table: one word a page, the CRC-32 of its content, or 0 where the page is not sealed. A seal is stored when
// its page is a draft, and is durable before the page is claimed; it stands by page number, so it follows a page that
// is handed over without being touched. Seals of pages that no instance holds mean nothing.

/** A writer beside a reader, or another thread, may change content and seal while they are read: then once more. */
const READ_TRIES = 5;

/** What a page turned out to be when it was copied. */
export type Verdict = "sealed" | "unsealed" | "damaged" | "changing";

/** Where a damaged page is. */
export interface DamagedPage {
  /** Undefined for an instance that was made after a reader had opened the region; its owner number is known. */
  readonly subsystem: string | undefined;
  readonly name: string | undefined;
  readonly owner: number;
  readonly index: number;
  /** Its page number in the region. */
  readonly page: number;
  /** Where its first byte stands in the instance: on the disk, for a disk. */
  readonly offsetBytes: number;
}

/** Content of a page has changed by itself; what was asked for is not served. */
export class DamagedPageError extends PerdureError {
  readonly place: DamagedPage;

  constructor(source: string, place: DamagedPage) {
    const instance = place.name === undefined ? `owner ${place.owner}` : `${place.subsystem} "${place.name}"`;
    super("DATA_CORRUPT", `${source}: page ${place.page}, at index ${place.index} of ${instance}, is damaged`);
    this.place = place;
  }
}

/** The word that seals content: its CRC-32, and 1 where that is 0, since 0 says "not sealed". */
function sealOf(content: Uint8Array): number {
  return crc32(content) || 1;
}

/** The seal of a page as the backing has it now. A reader does not touch the mapping: a hole of it is SIGBUS. */
function readSeal(memory: Memory, shape: Shape, page: number): number {
  if (!memory.readOnly) return memory.load32(shape.sealOffset(page));
  const word = new Uint32Array(1);
  memory.readInto(shape.sealOffset(page), new Uint8Array(word.buffer));
  return word[0];
}

function contentOf(memory: Memory, shape: Shape, page: number): Uint8Array {
  return memory.bytes(shape.pageOffset(page), shape.pageBytes);
}

/** Seals pages whose content nobody changes now. The next fence makes the seals durable. */
export function sealPages(memory: Memory, shape: Shape, first: number, pages: number): void {
  for (let page = first; page < first + pages; page++) {
    memory.commit32(shape.sealOffset(page), sealOf(contentOf(memory, shape, page)));
  }
  memory.flush(shape.sealOffset(first), pages * sealBytes);
}

/**
 * Takes the seals off pages that are held and about to be changed through a view, which nothing can follow. Durable
 * before the view is handed out: no crash finds a seal over content that it does not belong to.
 *
 * @throws DATA_CORRUPT when one of them is damaged: the seal that it gets later would hide that; EIO
 */
export function unsealPages(writer: FrameWriter, first: number, pages: number): void {
  const { memory, core } = writer;
  for (let page = first; page < first + pages; page++) {
    withSealLock(writer, page, () => refuseDamaged(memory, core, page));
  }
  for (let page = first; page < first + pages; page++)
    withSealLock(writer, page, () => unseal(memory, core.shape, page));
}

function unseal(memory: Memory, shape: Shape, page: number): void {
  if (readSeal(memory, shape, page) === 0) return;
  memory.commit32(shape.sealOffset(page), 0);
  persist(memory, shape.sealOffset(page), sealBytes);
}

/**
 * Lets pages go, and seals those of them again that nobody holds any longer. The content is durable before the seal is
 * stored: a crash in between leaves a page without a seal.
 *
 * @throws EIO
 */
export function sealAgain(writer: FrameWriter, first: number, pages: number): void {
  const { pins } = writer.core;
  let held = first;
  try {
    for (let page = first; page < first + pages; page++) {
      withSealLock(writer, page, () => {
        pins.letGo(page);
        held = page + 1;
        if (!pins.has(page)) sealUnheld(writer, page);
      });
    }
  } finally {
    // After an error, be it of the lock itself, the others are let go without a seal.
    for (; held < first + pages; held++) pins.letGo(held);
  }
}

function sealUnheld({ memory, core: { shape } }: FrameWriter, page: number): void {
  persist(memory, shape.pageOffset(page), shape.pageBytes);
  sealPages(memory, shape, page, 1);
  memory.fence();
}

// Whoever holds a page looks at its seal only behind this lock, and so does whoever seals it since nobody holds it: so
// no thread seals what another is about to change.
function withSealLock(writer: FrameWriter, page: number, act: () => void): void {
  const { core } = writer;
  writer.locked(core.names.words, core.names.stripeOf(0, page), () => {
    try {
      act();
    } catch (error) {
      throw core.failed(error);
    }
  });
}

/** For writers, where nobody else changes the page meanwhile. @throws DATA_CORRUPT */
export function refuseDamaged(memory: Memory, core: RegionCore, page: number): void {
  const seal = readSeal(memory, core.shape, page);
  if (seal === 0 || seal === sealOf(contentOf(memory, core.shape, page))) return;
  throw new DamagedPageError(core.source, placeOf(memory, core, page));
}

/** Copies a whole page and compares the copy with its seal. */
export function copySealed(memory: Memory, shape: Shape, page: number, target: Uint8Array): Verdict {
  let verdict: Verdict = "changing";
  for (let tries = 0; tries < READ_TRIES; tries++) {
    const seal = readSeal(memory, shape, page);
    if (memory.readOnly) memory.readInto(shape.pageOffset(page), target);
    else target.set(contentOf(memory, shape, page));
    if (seal === 0) return "unsealed";
    if (seal === sealOf(target)) return "sealed";
    verdict = readSeal(memory, shape, page) === seal ? "damaged" : "changing";
    // Beside a reader a writer may have begun and ended a change; a thread sees what the others change at once.
    if (!memory.readOnly && verdict === "damaged") break;
  }
  return verdict;
}

/**
 * Copies the whole page at an index.
 *
 * @throws DATA_CORRUPT; EBUSY when a writer beside this reader is changing or has replaced the page
 */
export function readSealed(memory: Memory, core: RegionCore, page: number, index: number, target: Uint8Array): void {
  const verdict = copySealed(memory, core.shape, page, target);
  if (verdict === "sealed" || verdict === "unsealed") return;
  const place = placeOf(memory, core, page);
  if (verdict === "damaged" && place.index === index && isContent(readEntry(memory, core.shape, page).claim)) {
    throw new DamagedPageError(core.source, place);
  }
  throw new PerdureError("EBUSY", `the page at index ${index} is being changed by the writer of ${core.source}`, {
    remedy: "try again in a moment, or open the region again to see it as it is now",
  });
}

/** Whether a claim is one of an instance that keeps its pages: only then a seal means something. */
export function isContent(claim: number): boolean {
  return kindOf(claim) === kind.data || kindOf(claim) === kind.run;
}

/** Whose page it is now, as its claim says. */
export function placeOf(memory: Memory, core: RegionCore, page: number): DamagedPage {
  const { index, claim } = readEntry(memory, core.shape, page);
  const owner = ownerOf(claim);
  const record = core.instances.get(owner)?.record;
  const offsetBytes = index * core.shape.pageBytes;
  return { subsystem: record?.subsystem, name: record?.name, owner, index, page, offsetBytes };
}
