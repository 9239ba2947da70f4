// Opens a region once, as the first thing its process does with the library, and tells how long that took.

import { Region } from "../src/index.ts";
import { readGeometry, Shape } from "../src/region/geometry.ts";
import { childTask, finishChild } from "./child.ts";
import { openSparse } from "./sparse-memory.ts";

/** How a region is opened. */
export interface OpenTask {
  readonly path: string;
  /** `table` only reads the bytes of the frame table and adds its words up: no open can be quicker. */
  readonly as: "table" | "reader" | "writer";
  /** Live objects in the heap before. */
  readonly heapBytes: number;
  /** Whether a writer closes the region, or leaves it as a kill does. */
  readonly close: boolean;
}

export interface OpenResult {
  readonly ms: number;
  /** Kind of the start, or "none" where nothing was opened. */
  readonly start: string;
}

const { path, as, heapBytes, close } = childTask() as OpenTask;
const heap = fillHeap(heapBytes);
const began = performance.now();
const opened = await open();
const ms = performance.now() - began;
if (heap.length === 0 && heapBytes > 0) throw new Error("the heap was collected");
if (close) await opened?.close();
finishChild({ ms, start: opened?.start.kind ?? "none" } satisfies OpenResult);

async function open(): Promise<Region | undefined> {
  if (as === "reader") return Region.open(path, { readOnly: true });
  if (as === "writer") return Region.attach(openSparse(path));
  sumTable();
  return undefined;
}

/** Small objects that stay alive, in a heap that was just collected. */
function fillHeap(bytes: number): object[][] {
  const kept: object[][] = [];
  const before = process.memoryUsage().heapUsed;
  while (process.memoryUsage().heapUsed - before < bytes) {
    kept.push(Array.from({ length: 10_000 }, (_, id) => ({ id, name: `object ${id}`, next: null })));
  }
  if (bytes > 0) globalThis.gc?.();
  return kept;
}

function sumTable(): void {
  const memory = openSparse(path);
  const { tableOffset, tableBytes } = new Shape(readGeometry(memory).geometry);
  const table = memory.read(tableOffset, tableBytes);
  const words = new Uint32Array(table.buffer, table.byteOffset, tableBytes >>> 2);
  let sum = 0;
  for (let k = 0; k < words.length; k++) sum = (sum + words[k]) | 0;
  if (sum === 0) throw new Error("the table is empty");
}
