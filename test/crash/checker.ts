/**
 * An independent checker: it reads the image of a recovered region by the format document alone and shares no code
 * with `src/region`. Offsets are written out, the check is computed bit by bit.
 */
import { crc32 } from "node:zlib";

const FREE = 1;
const META = 2;
const DIRECTORY = 3;
const DATA = 4;
const TABLE = 5;
const RUN = 6;
const BAD = 9;

/** What the checker found, in one line of text per live instance, and how many pages are free below the mark. */
export interface Checked {
  readonly text: string;
  readonly free: number;
  readonly mark: number;
}

interface Shown {
  readonly name: string;
  readonly size: number;
  readonly attribute: number;
  readonly readOnly: boolean;
  readonly pages: Map<number, string>;
}

interface Owner extends Shown {
  readonly owner: number;
  /** 2 live, 3 deleting, 4 deleted. */
  readonly state: number;
  readonly parent: number;
  readonly reach: number;
  /** Pages of masks by their index: where each starts. */
  readonly masks: Map<number, number>;
}

const oddWeight = (value: number): boolean => value.toString(2).replaceAll("0", "").length % 2 === 1;
const heavy: number[] = [];
for (let value = 3; value < 128; value++) if (oddWeight(value) && (value & (value - 1)) !== 0) heavy.push(value);

/** Throws with what is wrong. */
function violate(what: string): never {
  throw new Error(`CHECKER ${what}`);
}

const bitOf = (word: number, bit: number): boolean => Math.floor(word / 2 ** bit) % 2 === 1;
/** Bit by bit is slow, and most entries come again in the next image: by page, then by both words as one number. */
const memo: Map<number, boolean>[] = [];

function isSound(page: number, index: number, claim: number): boolean {
  const ofPage = (memo[page] ??= new Map<number, boolean>());
  const key = index < 2 ** 20 ? index * 2 ** 32 + claim : -1;
  const known = ofPage.get(key);
  if (known !== undefined) return known;
  let sum = 0;
  let column = 0;
  for (let bit = 0; bit < 32; bit++) if (bitOf(index, bit)) sum ^= heavy[bit];
  column = 32;
  for (let bit = 0; bit < 32; bit++) {
    const own = bit >= 19 && bit <= 25 ? 2 ** (bit - 19) : heavy[column++];
    if (bitOf(claim, bit)) sum ^= own;
  }
  for (let bit = 0; bit < 32; bit++) if (bitOf(page, bit)) sum ^= heavy[(bit * 5 + 3) % 57];
  if (key >= 0) ofPage.set(key, sum === 0);
  return sum === 0;
}

/** Checks an image at rest after recovery. Throws at the first violation. */
export function checkImage(image: Uint8Array): Checked {
  const view = new DataView(image.buffer, image.byteOffset);
  const word = (offset: number): number => view.getUint32(offset, true);
  if (word(0) !== 0x50455253 || word(4) !== 0x4b4d454d || word(8) !== 1) violate("superblock head");
  if (word(64) !== crc32(image.subarray(12, 64))) violate("geometry CRC");
  const words = new Uint32Array(image.buffer, image.byteOffset, image.length / 4);
  const pageBytes = word(28);
  const pages = word(56);
  const twin = (first: number, second: number, what: string): boolean => {
    const a = image.subarray(first, first + 512);
    const b = image.subarray(second, second + 512);
    if (Buffer.compare(a, b) !== 0) violate(`the slots of ${what} differ`);
    if (a.every((byte) => byte === 0)) return false;
    if (word(first + 508) !== crc32(image.subarray(first, first + 508))) violate(`CRC of ${what}`);
    return true;
  };
  if (!twin(512, 1024, "the state record")) violate("no state record");
  const mark = word(512 + 56);
  const entry = (page: number): { index: number; claim: number; kind: number; owner: number } => {
    const index = word(4096 + 8 * page);
    const claim = word(4096 + 8 * page + 4);
    return { index, claim, kind: Math.floor(claim / 2 ** 28), owner: claim % 2 ** 19 };
  };

  const directory: number[] = [];
  for (let page = 0; page < mark; page++) {
    const { index, kind, owner } = entry(page);
    if (kind !== DIRECTORY) continue;
    if (owner !== 1 || directory[index] !== undefined) violate(`directory page ${page}`);
    directory[index] = page;
  }
  const owners = readOwners(image, directory, pageBytes, twin);
  let free = 0;
  let tail: { page: number; index: number; owner: number } | undefined;
  const seals = 4096 + 8 * pages + 4 * Math.ceil((8 * pages) / 4096);
  const hasSeals = bitOf(word(20), 0);
  const metadata = Math.ceil((seals + (hasSeals ? 4 * pages : 0)) / pageBytes);
  for (let page = 0; page < pages; page++) {
    const { index, claim, kind, owner } = entry(page);
    if (page >= mark) {
      const isCopy = kind === META && page === pages - 1;
      if (isSound(page, index, claim) && kind !== FREE && kind !== 0 && kind <= BAD && !isCopy)
        violate(`claim above the mark at ${page}`);
      continue;
    }
    if (!isSound(page, index, claim)) violate(`check of page ${page}`);
    if (page < metadata || page === pages - 1) {
      if (kind !== META) violate(`page ${page} is metadata`);
      continue;
    }
    if (kind === FREE) free++;
    if (kind === FREE || kind === DIRECTORY) continue;
    const holder = owners.get(owner) ?? violate(`page ${page} has no owner (${owner})`);
    if (kind === TABLE) {
      if (holder.parent === 0 || index * 4 * pageBytes >= holder.reach || holder.masks.has(index))
        violate(`page of masks ${page}`);
      holder.masks.set(index, page * pageBytes);
      continue;
    }
    const isTail = kind === RUN && tail?.page === page && tail.index === index && tail.owner === owner;
    if (kind !== DATA && !isTail) violate(`kind ${kind} of page ${page}`);
    if (holder.pages.has(index)) violate(`two pages at index ${index} of ${holder.name}`);
    if (index * pageBytes >= holder.size) violate(`index ${index} beyond the size of ${holder.name}`);
    holder.pages.set(index, contentOf(words, page * pageBytes, pageBytes));
    if (hasSeals) checkSeal(word(seals + 4 * page), image.subarray(page * pageBytes, (page + 1) * pageBytes), page);
    tail = { page: page + 1, index: index + 1, owner };
  }
  checkLayers(owners);
  return { text: textOf(shownIn(image, owners, pageBytes)), free, mark };
}

/** The instances that have a name, with all that they show. */
function shownIn(image: Uint8Array, owners: ReadonlyMap<number, Owner>, pageBytes: number): Shown[] {
  const live = Array.from(owners.values()).filter(({ state }) => state === 2);
  return live.map((owner) => flattened(image, owner, owners, pageBytes));
}

function checkSeal(seal: number, content: Uint8Array, page: number): void {
  if (seal !== 0 && seal !== (crc32(content) || 1)) violate(`seal of page ${page}`);
}

/** What stands on what: a parent exists and never changes, nothing waits for an end that is possible now. */
function checkLayers(owners: ReadonlyMap<number, Owner>): void {
  const layers = new Map<number, number>();
  for (const { parent, name } of owners.values()) {
    if (parent === 0) continue;
    const below = owners.get(parent) ?? violate(`the parent of ${name} does not exist`);
    if (!below.readOnly && below.state !== 3) violate(`the parent of ${name} may be written`);
    layers.set(parent, (layers.get(parent) ?? 0) + 1);
  }
  for (const { owner, name, state } of owners.values()) {
    if (state === 3 && (layers.get(owner) ?? 0) < 2) violate(`${name} is hidden for nothing`);
  }
}

/** An instance with all that it shows, its own pages and those of the layers below. */
function flattened(image: Uint8Array, owner: Owner, owners: ReadonlyMap<number, Owner>, pageBytes: number): Shown {
  const pages = new Map(owner.pages);
  const hidden = (index: number): boolean => {
    const start = owner.masks.get(Math.floor(index / (4 * pageBytes)));
    const bits =
      start === undefined ? 0 : (image[start + Math.floor((index % (4 * pageBytes)) / 4)] >>> (2 * (index % 4))) & 3;
    if (bits === 1 || bits === 2) violate(`the mask of index ${index} of ${owner.name} is damaged`);
    return bits === 3;
  };
  const below = owners.get(owner.parent);
  if (below !== undefined) {
    for (const [index, content] of flattened(image, below, owners, pageBytes).pages) {
      if (!pages.has(index) && index < owner.reach && !hidden(index)) pages.set(index, content);
    }
  }
  return { ...owner, pages };
}

function readOwners(
  image: Uint8Array,
  directory: readonly number[],
  pageBytes: number,
  twin: (first: number, second: number, what: string) => boolean,
): Map<number, Owner> {
  const view = new DataView(image.buffer, image.byteOffset);
  const owners = new Map<number, Owner>();
  const names = new Set<string>();
  for (let record = 0; (record + 1) * 1024 <= directory.length * pageBytes; record++) {
    const slots = [record * 1024, record * 1024 + 512].map((at) => {
      const page = directory[Math.floor(at / pageBytes)];
      return page === undefined ? -1 : page * pageBytes + (at % pageBytes);
    });
    if (slots[0] < 0 || slots[1] < 0 || !twin(slots[0], slots[1], `record ${record}`)) continue;
    const state = view.getUint32(slots[0] + 8, true);
    if (state === 0) continue;
    if (state < 2 || state > 4) violate(`state ${state} of record ${record} at rest`);
    const name = Buffer.from(image.subarray(slots[0] + 109, slots[0] + 109 + image[slots[0] + 108])).toString();
    if (state === 2 && names.has(name)) violate(`two live instances named ${name}`);
    if (state === 2) names.add(name);
    const size = view.getUint32(slots[0] + 36, true) * 2 ** 32 + view.getUint32(slots[0] + 32, true);
    const [word, owner] = [(at: number) => view.getUint32(slots[0] + at, true), record + 2];
    owners.set(owner, {
      owner,
      name,
      size,
      state,
      attribute: image[slots[0] + 364],
      readOnly: word(28) === 1,
      parent: word(16),
      reach: word(468) * 2 ** 32 + word(464),
      pages: new Map(),
      masks: new Map(),
    });
  }
  return owners;
}

const last = { first: 0, second: 0, text: "0/0" };

/** A page as the tests fill it: each half is one repeated word. Neighbours are mostly alike. */
function contentOf(words: Uint32Array, offset: number, pageBytes: number): string {
  const first = oneWord(words, offset / 4, pageBytes / 8);
  const second = oneWord(words, (offset + pageBytes / 2) / 4, pageBytes / 8);
  if (first === last.first && second === last.second) return last.text;
  last.first = first;
  last.second = second;
  last.text = `${first < 0 ? "torn" : first}/${second < 0 ? "torn" : second}`;
  return last.text;
}

/** The word that is repeated, or -1. */
function oneWord(words: Uint32Array, at: number, count: number): number {
  const first = words[at];
  for (let k = at + 1; k < at + count; k++) if (words[k] !== first) return -1;
  return first;
}

/** The one text of a state, for comparing. */
export function textOf(owners: Iterable<Shown>): string {
  return Array.from(owners, ({ name, size, attribute, readOnly, pages }) => {
    const held = Array.from(pages).sort(([a], [b]) => a - b);
    const parts: string[] = [];
    for (let k = 0; k < held.length; ) {
      const [first, content] = held[k];
      const start = k;
      while (k < held.length && held[k][1] === content && held[k][0] === first + k - start) k++;
      parts.push(k - start === 1 ? `${first}=${content}` : `${first}..${first + k - start - 1}=${content}`);
    }
    return `${name}(${size},${attribute}${readOnly ? ",read-only" : ""}): ${parts.join(" ")}`;
  })
    .sort()
    .join("\n");
}
