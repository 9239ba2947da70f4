import { type Described, describe } from "./expected.ts";

/**
 * What must hold of media at rest, after recovery. Nothing is shared with the code under test: offsets are written
 * out, the check is computed bit by bit, and there is no plan, only complaints.
 */
export interface Checked {
  /** The instances and all their content, in words. */
  readonly text: string;
  readonly free: number;
  readonly claimed: number;
  readonly mark: number;
}

/** Thrown when something does not hold. */
export class Complaint extends Error {}

export function check(words: Uint32Array): Checked {
  checkTwins(words, 0, "superblock");
  const mark = words[3];
  if (mark < 248 || mark > 288 || mark % 8 !== 0) throw new Complaint(`mark ${mark}`);
  const frames: Frame[] = [];
  let free = 0;
  for (let page = 248; page < 288; page++) {
    const index = words[16 + 2 * (page - 248)];
    const claim = words[17 + 2 * (page - 248)];
    const good = isGood(page, index, claim);
    const kind = Math.floor(claim / 2 ** 28);
    if (page >= mark) {
      if (good && kind > 1) throw new Complaint(`page ${page} is claimed above the mark`);
      continue;
    }
    if (!good || kind < 1 || kind > 6) throw new Complaint(`entry of page ${page}`);
    if (kind === 1) free++;
    else frames.push({ page, index, kind, revision: Math.floor(claim / 2 ** 26) % 4, owner: claim % 2 ** 19 });
  }
  const instances = checkDirectory(words, frames);
  for (const frame of frames) if (frame.kind !== 2) checkFrame(words, frame, frames, instances);
  return { text: describe([...instances.values()]), free, claimed: frames.length, mark };
}

interface Frame {
  readonly page: number;
  readonly index: number;
  readonly kind: number;
  readonly revision: number;
  readonly owner: number;
}

function checkDirectory(words: Uint32Array, frames: Frame[]): Map<number, Described> {
  const instances = new Map<number, Described>();
  const seen = new Set<number>();
  for (const { page, kind, index, owner } of frames) {
    if (kind !== 2) continue;
    if (owner !== 1 || index > 5 || seen.has(index)) throw new Complaint(`directory page ${page}`);
    seen.add(index);
    const at = 96 + 16 * (page - 248);
    if (!checkTwins(words, at, `record ${index}`)) continue;
    const [, state, own, name, size, source] = words.subarray(at, at + 6);
    if (state === 0) continue;
    if (state !== 2) throw new Complaint(`state ${state} of record ${index} at rest`);
    if (source !== 0) throw new Complaint(`live record ${index} names a source`);
    if (own < 254 || instances.has(own)) throw new Complaint(`owner ${own} of record ${index}`);
    if ([...instances.values()].some((other) => other.name === name)) throw new Complaint(`two live instances ${name}`);
    instances.set(own, { name, size, pages: new Map(), runs: new Map() });
  }
  return instances;
}

function checkFrame(words: Uint32Array, frame: Frame, frames: Frame[], instances: Map<number, Described>): void {
  const { page, kind, index } = frame;
  const instance = instances.get(frame.owner);
  if (instance === undefined) throw new Complaint(`page ${page} of owner ${frame.owner}`);
  if (kind === 6) throw new Complaint(`volatile page ${page} at rest`);
  if (kind === 5) {
    const head = frames.find((other) => other.page === page - (page % 4));
    if (head?.kind !== 4 || head.owner !== frame.owner) throw new Complaint(`tail ${page} without its head`);
    return;
  }
  if (index >= instance.size) throw new Complaint(`page ${page} lies beyond the size`);
  const places = kind === 3 ? instance.pages : instance.runs;
  if (places.has(index)) throw new Complaint(`name ${index} of page ${page} claimed twice`);
  if (kind === 3) instance.pages.set(index, sectors(words, page));
  else instance.runs.set(index, checkRun(words, frame, frames));
}

function checkRun(words: Uint32Array, head: Frame, frames: Frame[]): number {
  if (head.page % 4 !== 0) throw new Complaint(`head ${head.page} is not aligned`);
  const [first, second] = sectors(words, head.page);
  for (const distance of [1, 2, 3]) {
    const tail = frames.find((other) => other.page === head.page + distance);
    if (tail?.kind !== 5 || tail.index !== head.index + distance) throw new Complaint(`head ${head.page} lacks a tail`);
    const values = sectors(words, tail.page);
    if (values[0] !== first || values[1] !== second) throw new Complaint(`run at ${head.page} is torn`);
  }
  if (first !== second) throw new Complaint(`run at ${head.page} is torn`);
  return first;
}

/** The value of both sectors, each of which holds one value throughout. */
function sectors(words: Uint32Array, page: number): [number, number] {
  const at = 96 + 16 * (page - 248);
  for (let k = 0; k < 16; k++) {
    if (words[at + k] !== words[at + (k < 8 ? 0 : 8)]) throw new Complaint(`page ${page} is torn`);
  }
  return [words[at], words[at + 8]];
}

/** Both slots hold the same bytes with a good sum, or both were never written. */
function checkTwins(words: Uint32Array, at: number, what: string): boolean {
  let written = false;
  for (let k = 0; k < 8; k++) {
    if (words[at + k] !== words[at + 8 + k]) throw new Complaint(`the slots of ${what} differ`);
    if (words[at + k] !== 0) written = true;
  }
  if (!written) return false;
  let sum = 2166136261;
  for (let k = 0; k < 7; k++) {
    sum = Math.imul(sum ^ words[at + k], 16777619);
    sum = sum ^ (sum >>> 13);
  }
  if (sum >>> 0 !== words[at + 7]) throw new Complaint(`the sum of ${what}`);
  return true;
}

const goodEntries: Map<number, boolean> = new Map();

function isGood(page: number, index: number, claim: number): boolean {
  const key = (page - 248) * 2 ** 42 + index * 2 ** 32 + claim;
  if (index >= 1024) return checkBitByBit(page, index, claim);
  let good = goodEntries.get(key);
  if (good === undefined) {
    good = checkBitByBit(page, index, claim);
    if (goodEntries.size > 200_000) goodEntries.clear();
    goodEntries.set(key, good);
  }
  return good;
}

/** Odd-weight columns in ascending order: 32 for the index, 25 for the claim beside its check, pages interleaved. */
function checkBitByBit(page: number, index: number, claim: number): boolean {
  const ones = (value: number): number => value.toString(2).replaceAll("0", "").length;
  const columns: number[] = [];
  for (let value = 0; value < 128; value++) if (ones(value) % 2 === 1 && ones(value) >= 3) columns.push(value);
  let sum = 0;
  let next = 32;
  for (let bit = 0; bit < 32; bit++) {
    if (Math.floor(index / 2 ** bit) % 2 === 1) sum ^= columns[bit];
    if (Math.floor(page / 2 ** bit) % 2 === 1) sum ^= columns[(bit * 5 + 3) % 57];
    const column = bit >= 19 && bit <= 25 ? 2 ** (bit - 19) : columns[next++];
    if (Math.floor(claim / 2 ** bit) % 2 === 1) sum ^= column;
  }
  return sum === 0;
}
