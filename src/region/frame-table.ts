import type { Progress } from "../base/index.ts";
import type { Memory } from "../memory/index.ts";
import { checksumBlockBytes, entryBytes, type Shape } from "./geometry.ts";

/**
 * So many bytes of the table are read at a time: they stay in the processor's cache while they are looked at, and
 * opening a large region makes no large buffer, which V8 would answer with a collection of the whole heap.
 */
const BLOCK_BYTES: number = 16 * checksumBlockBytes;
const BLOCK_PAGES: number = BLOCK_BYTES / entryBytes;

/** A part of the frame table; its words are only good until the next one is read. */
export interface FrameBlock {
  readonly firstPage: number;
  readonly pages: number;
  /** Index of page `firstPage + k` at 2k, its claim at 2k + 1. */
  readonly words: Uint32Array;
  readonly bytes: Uint8Array;
}

/** How far the analysis is behind a block: it reads the table twice. */
export function tableProgress(shape: Shape, { firstPage, pages }: FrameBlock, pass: 1 | 2): Progress {
  const doneBytes = (pass - 1) * shape.tableBytes + (firstPage + pages) * entryBytes;
  return { what: "reading the frame table", doneBytes, totalBytes: 2 * shape.tableBytes };
}

/** The frame table of a memory, read in order with pread(2) where the backing has it. */
export class FrameTable {
  readonly #memory: Memory;
  readonly #shape: Shape;
  readonly #bytes: Uint8Array;
  readonly #words: Uint32Array;

  constructor(memory: Memory, shape: Shape) {
    this.#memory = memory;
    this.#shape = shape;
    this.#bytes = new Uint8Array(Math.min(BLOCK_BYTES, shape.tableBytes));
    this.#words = new Uint32Array(this.#bytes.buffer);
  }

  *blocks(): Generator<FrameBlock, void, undefined> {
    const { pages } = this.#shape;
    for (let firstPage = 0; firstPage < pages; firstPage += BLOCK_PAGES) {
      const count = Math.min(BLOCK_PAGES, pages - firstPage);
      const bytes = this.#bytes.subarray(0, count * entryBytes);
      this.#memory.readInto(this.#shape.entryOffset(firstPage), bytes);
      yield { firstPage, pages: count, words: this.#words, bytes };
    }
  }

  /** Index and claim of one page, read by themselves. */
  entry(page: number): FrameEntry {
    return readEntry(this.#memory, this.#shape, page);
  }
}

/** One entry of the frame table. */
export interface FrameEntry {
  readonly index: number;
  readonly claim: number;
}

/** Reads the entry of a page as the backing has it now. */
export function readEntry(memory: Memory, shape: Shape, page: number): FrameEntry {
  const words = new Uint32Array(2);
  memory.readInto(shape.entryOffset(page), new Uint8Array(words.buffer));
  return { index: words[0], claim: words[1] };
}
