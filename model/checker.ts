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
    if (!good || kind < 1 || kind > 7) throw new Complaint(`entry of page ${page}`);
    if (kind === 1) free++;
    else frames.push({ page, index, kind, revision: Math.floor(claim / 2 ** 26) % 4, owner: claim % 2 ** 19 });
  }
  const layers = checkDirectory(words, frames);
  for (const frame of frames) if (frame.kind !== 2) checkFrame(words, frame, frames, layers);
  checkTree(layers);
  const shown = [...layers.values()].filter(({ state }) => state !== 3);
  return { text: describe(shown.map((layer) => show(layer, layers))), free, claimed: frames.length, mark };
}

interface Frame {
  readonly page: number;
  readonly index: number;
  readonly kind: number;
  readonly revision: number;
  readonly owner: number;
}

/** An instance with the pages that are its own. */
interface Layer extends Described {
  readonly state: number;
  readonly parent: number;
  readonly reach: number;
  /** Indices that are holes whatever lies below. */
  readonly masked: Set<number>;
  readonly tables: Set<number>;
}

function checkDirectory(words: Uint32Array, frames: Frame[]): Map<number, Layer> {
  const instances = new Map<number, Layer>();
  const seen = new Set<number>();
  for (const { page, kind, index, owner } of frames) {
    if (kind !== 2) continue;
    if (owner !== 1 || index > 8 || seen.has(index)) throw new Complaint(`directory page ${page}`);
    seen.add(index);
    const at = 96 + 16 * (page - 248);
    if (!checkTwins(words, at, `record ${index}`)) continue;
    const state = words[at + 1] % 65536;
    const own = words[at + 2] % 65536;
    const parent = Math.floor(words[at + 2] / 65536);
    const name = words[at + 3];
    const size = words[at + 4] % 65536;
    const reach = Math.floor(words[at + 4] / 65536);
    if (state === 0) continue;
    if (state < 2 || state > 4) throw new Complaint(`state ${state} of record ${index} at rest`);
    if (words[at + 5] % 65536 !== 0) throw new Complaint(`record ${index} names a source`);
    if (own < 254 || instances.has(own)) throw new Complaint(`owner ${own} of record ${index}`);
    const twin = [...instances.values()].some((other) => other.state === 2 && other.name === name);
    if (state === 2 && twin) throw new Complaint(`two live instances ${name}`);
    if ((words[at + 6] === 0) === (state === 4)) throw new Complaint(`the age of record ${index}`);
    const content = { pages: new Map(), runs: new Map(), masked: new Set<number>(), tables: new Set<number>() };
    const flags = { readOnly: words[at + 1] >= 65536, deleted: state === 4 };
    instances.set(own, { name, size, state, parent, reach, ...flags, ...content });
  }
  return instances;
}

/** What stands below is there, and is hidden only while several layers need it. Only what cannot change is shared. */
function checkTree(layers: Map<number, Layer>): void {
  for (const [owner, layer] of layers) {
    if (layer.parent !== 0 && !layers.has(layer.parent)) throw new Complaint(`no layer ${layer.parent}`);
    if (layer.parent === 0 && layer.reach !== 0) throw new Complaint(`layer ${owner} reaches into nothing`);
    if (layer.parent !== 0 && layer.runs.size > 0) throw new Complaint(`layer ${owner} has a run`);
    const children = [...layers.values()].filter(({ parent }) => parent === owner);
    if (layer.state === 3 && children.length < 2) throw new Complaint(`layer ${owner} is not ended`);
    if (children.length > 0 && !layer.readOnly) throw new Complaint(`writable layer ${owner} is shared`);
  }
}

/** What an instance shows, through all layers below it. */
function show(layer: Layer, layers: Map<number, Layer>): Described {
  const pages = new Map(layer.pages);
  let hidden = layer.masked;
  let reach = layer.reach;
  let below = layers.get(layer.parent);
  for (let depth = 0; below !== undefined; depth++) {
    if (depth > 9) throw new Complaint("a loop of layers");
    for (const [index, content] of below.pages) {
      if (index < reach && !hidden.has(index) && !pages.has(index)) pages.set(index, content);
    }
    hidden = new Set([...hidden, ...below.masked]);
    reach = Math.min(reach, below.reach);
    below = layers.get(below.parent);
  }
  return { ...layer, pages };
}

function checkFrame(words: Uint32Array, frame: Frame, frames: Frame[], instances: Map<number, Layer>): void {
  const { page, kind, index } = frame;
  const instance = instances.get(frame.owner);
  if (instance === undefined) throw new Complaint(`page ${page} of owner ${frame.owner}`);
  if (kind === 6) throw new Complaint(`volatile page ${page} at rest`);
  if (kind === 5) {
    const head = frames.find((other) => other.page === page - (page % 4));
    if (head?.kind !== 4 || head.owner !== frame.owner) throw new Complaint(`tail ${page} without its head`);
    return;
  }
  if (kind === 7) {
    if (index > 1 || index * 512 >= instance.reach) throw new Complaint(`table ${page} masks nothing`);
    if (instance.tables.has(index)) throw new Complaint(`table ${index} of page ${page} claimed twice`);
    instance.tables.add(index);
    for (let bit = 0; bit < 512; bit++) {
      const word = words[96 + 16 * (page - 248) + Math.floor(bit / 32)];
      if (Math.floor(word / 2 ** (bit % 32)) % 2 === 1) instance.masked.add(512 * index + bit);
    }
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
