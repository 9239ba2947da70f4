/**
 * The layout on media in miniature, in 32-bit words. A line is what reaches the media in one piece, so
 * small lines are the harder case: two frame entries a line, two lines a record slot, four lines a page. Page numbers,
 * indices and owners lie on both sides of 255/256, so that a word stored byte by byte shows.
 *
 *     word 0            16                96
 *     | superblock A,B  | 40 frame entries | 40 pages of 16 words |
 */
export const lineWords = 4;
export const slotWords = 8;
export const pageWords = 16;
/** A page holds two sectors, which a partial write replaces one at a time. */
export const sectorWords: number = pageWords / 2;

export const firstPage = 248;
export const pageCount = 40;
export const endPage: number = firstPage + pageCount;
/** Pages by which the high-water mark is raised. */
export const chunkPages = 8;
/** Pages of an aligned run. */
export const runPages = 4;

export const superblockAt = 0;
const framesAt = 2 * slotWords;
const pagesAt: number = framesAt + 2 * pageCount;
export const totalWords: number = pagesAt + pageCount * pageWords;

/** Instance records are kept one to a DIRECTORY page: the directory grows by a page now and then. */
export const directoryLimit = 9;
/** The owner of DIRECTORY pages. */
export const directoryOwner = 1;
/** The first owner number given to an instance. */
export const firstOwner = 254;
/** Indices are below this in the model, so that a name fits one number. */
export const indexLimit = 1024;
/** Indices whose mask bits one TABLE page holds. */
export const tableIndices: number = 32 * pageWords;

export type Kind = 1 | 2 | 3 | 4 | 5 | 6 | 7;
export const FREE: Kind = 1;
export const DIRECTORY: Kind = 2;
export const DATA: Kind = 3;
/** First page of an aligned run. */
export const HEAD: Kind = 4;
/** Every further page of an aligned run. */
export const RUN: Kind = 5;
export const VOLATILE: Kind = 6;
/** Mask bits of a layer. */
export const TABLE: Kind = 7;

export type State = 0 | 1 | 2 | 3 | 4;
export const RECORD_FREE: State = 0;
export const PENDING: State = 1;
export const LIVE: State = 2;
/** Is ended as soon as no more than one layer stands on it. */
export const DELETING: State = 3;
/** Kept, so that it can be had back until its pages are needed. */
export const DELETED: State = 4;

export const OPEN = 1;
export const CLOSED = 2;

/** Words of a slot; the last word of every slot is its CRC, the first its sequence (never 0). */
export const superblockField = { sequence: 0, state: 1, generation: 2, mark: 3, tableSum: 4, writer: 5 } as const;

export function lineOf(word: number): number {
  return Math.floor(word / lineWords);
}

/** Word of a page's frame entry: its index; the claim follows. */
export function frameAt(page: number): number {
  return framesAt + 2 * (page - firstPage);
}

export function pageAt(page: number): number {
  return pagesAt + pageWords * (page - firstPage);
}

/** The pages behind the head of a run. */
export function tailsOf(head: number): number[] {
  return Array.from({ length: runPages - 1 }, (_, k) => head + k + 1);
}

/** What a claim claims. */
export interface Name {
  readonly owner: number;
  readonly kind: Kind;
  readonly index: number;
}

/** One number for a name: the key of page tables and locks. */
export function nameKey(owner: number, kind: Kind, index: number): number {
  return (owner * 16 + kind) * indexLimit + index;
}
