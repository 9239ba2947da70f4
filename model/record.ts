import { RECORD_FREE, type State } from "./layout.ts";

/** An instance record, as it stands on the media. */
export interface Entry {
  /** The DIRECTORY page that holds the record; -1 when the directory has not grown that far. */
  page: number;
  sequence: number;
  state: State;
  /** A snapshot: never written, resized or trimmed. */
  readOnly: boolean;
  owner: number;
  /** Owner of the layer below; 0 for none. */
  parent: number;
  name: number;
  size: number;
  /** At or above it the parent is not asked. */
  reach: number;
  /** Owner whose pages a pending save took over; 0 for none. */
  source: number;
  /** Owner of the layer that has taken this one's old name; 0 for none. */
  successor: number;
  /** Sequence at which it was deleted; 0 when it was not. Later rewrites keep it. */
  deletedAt: number;
}

/** What a record says that belongs to nobody. */
export const freeEntry: Omit<Entry, "page" | "sequence"> = {
  state: RECORD_FREE,
  readOnly: false,
  owner: 0,
  parent: 0,
  name: 0,
  size: 0,
  reach: 0,
  source: 0,
  successor: 0,
  deletedAt: 0,
};

export function emptyEntry(page: number): Entry {
  return { page, sequence: 0, ...freeEntry };
}

/**
 * The words of a slot without its CRC. Small fields share a word, so that a slot stays two lines:
 *
 *     sequence | flags, state | parent, owner | name | reach, size | successor, source | deleted at | CRC
 */
export function wordsOf(entry: Entry): number[] {
  const { sequence, name, deletedAt } = entry;
  return [
    sequence,
    pack(entry.readOnly ? 1 : 0, entry.state),
    pack(entry.parent, entry.owner),
    name,
    pack(entry.reach, entry.size),
    pack(entry.successor, entry.source),
    deletedAt,
  ];
}

export function readEntry(words: Uint32Array, at: number, page: number): Entry {
  const [sequence, state, owner, name, size, source, deletedAt] = words.subarray(at, at + 7);
  return {
    page,
    sequence,
    state: low(state) as State,
    readOnly: high(state) === 1,
    owner: low(owner),
    parent: high(owner),
    name,
    size: low(size),
    reach: high(size),
    source: low(source),
    successor: high(source),
    deletedAt,
  };
}

function pack(upper: number, lower: number): number {
  return upper * 2 ** 16 + lower;
}

function low(word: number): number {
  return word & 0xffff;
}

function high(word: number): number {
  return word >>> 16;
}
