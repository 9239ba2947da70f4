// Writes to a disk over NBD, knows what was acknowledged, and judges what a kill has left of it.

import assert from "node:assert/strict";
import { below, pick, type Random } from "../../src/testing/index.ts";
import { readDisk } from "./cli.ts";
import { NbdRawClient, requestFrame } from "./nbd-raw-client.ts";

const KiB = 2 ** 10;
const MiB = 2 ** 20;
/** A stamp: two words of 32 bits, the place (in units of `placeBytes`) and the number of the change. */
const wordBytes = 8;
const placeBytes = 4 * KiB;
const FUA = 1;
const NO_HOLE = 2;
/** Zeroing that keeps the blocks stores as much as stamping does. */
const requests = {
  stamp: { command: 1, flags: 0 },
  trim: { command: 4, flags: 0 },
  punch: { command: 6, flags: 0 },
  zero: { command: 6, flags: NO_HOLE },
} as const;
/** Requests that one connection has under way. */
const depth = 4;
/** The server stores large ones in parts as they arrive, so that a kill finds some of them half done. */
const sizes = [512, 4 * KiB, 64 * KiB, MiB, 4 * MiB];

/** Read at once when a disk is judged. */
const readBytes = 16 * MiB;

/** A change that is to be sent. */
interface Wish {
  readonly type: keyof typeof requests;
  readonly offset: number;
  readonly lengthBytes: number;
  readonly fua: boolean;
}

/** A change that was sent and not yet acknowledged. */
interface Change {
  readonly offset: number;
  readonly content: Buffer;
  readonly fua: boolean;
}

/** Where the disk is, and how it is made. */
export interface StampedDisk {
  readonly socket: string;
  readonly name: string;
  /** It is empty at first, and larger than all that can be under way. */
  readonly sizeBytes: number;
  /** What the server changes as a whole: a page of its region. */
  readonly blockBytes: number;
}

/** What a kill has left. */
export interface Aftermath {
  /** Requests that were under way. */
  readonly inFlight: number;
  /** Blocks of theirs that hold the new content, and those that hold the old. */
  readonly newBlocks: number;
  readonly oldBlocks: number;
}

export class StampWriter {
  acknowledged = 0;
  acknowledgedFua = 0;
  /** When the last reply came, by the clock of `performance`. */
  answeredAt = 0;
  readonly #disk: StampedDisk;
  readonly #random: Random;
  /** The disk as acknowledged changes have made it. */
  readonly #content: Buffer;
  /** Blocks that a change under way touches: two on one block could land in either order. */
  readonly #busy: Uint8Array;
  readonly #inFlight = new Map<number, Change>();
  #sequence = 0;

  constructor(disk: StampedDisk, random: Random) {
    this.#disk = disk;
    this.#random = random;
    this.#content = Buffer.alloc(disk.sizeBytes);
    this.#busy = new Uint8Array(Math.ceil(disk.sizeBytes / disk.blockBytes));
  }

  /** Opens connections and keeps them busy until the server is gone. @returns one promise for each connection */
  async start(connections: number): Promise<Promise<void>[]> {
    const clients: NbdRawClient[] = [];
    for (let k = 0; k < connections; k++) clients.push(await this.#connect());
    return clients.map((client) => this.#keepBusy(client));
  }

  /** Changes all of the disk by one request. @returns what tells whether it was acknowledged, once it is sent */
  async sweep(type: "stamp" | "zero"): Promise<{ readonly isDone: Promise<boolean> }> {
    const client = await this.#connect();
    this.#issue(client, { type, offset: 0, lengthBytes: this.#disk.sizeBytes, fua: false });
    const isDone = untilGone(client, async () => {
      await this.#takeReply(client);
      return true;
    });
    return { isDone };
  }

  /**
   * Compares the disk with what it may hold: each block is wholly what was acknowledged, or wholly what a change under
   * way would have made of it. What is there is what counts from now on.
   */
  async judge(): Promise<Aftermath> {
    const changed = Buffer.from(this.#content);
    for (const { offset, content } of this.#inFlight.values()) content.copy(changed, offset);
    const aftermath = { inFlight: this.#inFlight.size, newBlocks: 0, oldBlocks: 0 };
    const disk = await this.#readDisk();
    for (let block = 0; block < this.#busy.length; block++) {
      const isOld = this.#isSame(disk, this.#content, block);
      if (!isOld && !this.#isSame(disk, changed, block)) assert.fail(this.#describe(disk, changed, block));
      if (this.#busy[block] === 1) aftermath[isOld ? "oldBlocks" : "newBlocks"]++;
    }
    disk.copy(this.#content);
    this.#busy.fill(0);
    this.#inFlight.clear();
    return aftermath;
  }

  #connect(): Promise<NbdRawClient> {
    return NbdRawClient.open(this.#disk.socket, this.#disk.name);
  }

  async #readDisk(): Promise<Buffer> {
    const client = await this.#connect();
    const parts: Buffer[] = [];
    for (let at = 0; at < this.#disk.sizeBytes; at += readBytes) {
      parts.push(await readDisk(client, at, Math.min(readBytes, this.#disk.sizeBytes - at)));
    }
    client.vanish();
    return Buffer.concat(parts);
  }

  async #keepBusy(client: NbdRawClient): Promise<void> {
    await untilGone(client, async () => {
      for (let k = 0; k < depth; k++) this.#send(client);
      for (;;) {
        await this.#takeReply(client);
        this.#send(client);
      }
    });
  }

  async #takeReply(client: NbdRawClient): Promise<void> {
    const { error, cookie } = await client.simpleReply();
    this.answeredAt = performance.now();
    if (error !== 0) throw new Error(`a change was answered with error ${error}`);
    this.#acknowledge(cookie);
  }

  /** Sends a change of any kind and place. */
  #send(client: NbdRawClient): void {
    const { offset, lengthBytes } = this.#place();
    const dice = this.#random();
    const type = dice < 0.7 ? "stamp" : dice < 0.8 ? "trim" : dice < 0.9 ? "punch" : "zero";
    this.#issue(client, { type, offset, lengthBytes, fua: this.#random() < 0.3 });
  }

  #issue(client: NbdRawClient, { type, offset, lengthBytes, fua }: Wish): void {
    const sequence = ++this.#sequence;
    const isStamp = type === "stamp";
    const content = isStamp ? stamps(offset, lengthBytes, sequence) : Buffer.alloc(lengthBytes);
    this.#inFlight.set(sequence, { offset, content, fua });
    this.#mark(offset, lengthBytes, 1);
    const { command, flags } = requests[type];
    const request = { type: command, flags: flags | (fua ? FUA : 0), offset, length: lengthBytes, cookie: sequence };
    client.send(requestFrame(isStamp ? { ...request, payload: content } : request));
  }

  /** Finds a range of which no block is busy; half of them begin and end anywhere. */
  #place(): { offset: number; lengthBytes: number } {
    for (;;) {
      const unit = this.#random() < 0.5 ? this.#disk.blockBytes : 1;
      const most = pick(this.#random, sizes);
      const lengthBytes = Math.max(unit, Math.ceil((this.#random() * most) / unit) * unit);
      const offset = below(this.#random, (this.#content.length - lengthBytes) / unit + 1) * unit;
      const [first, end] = this.#blocksOf(offset, lengthBytes);
      if (!this.#busy.subarray(first, end).includes(1)) return { offset, lengthBytes };
    }
  }

  #acknowledge(cookie: number): void {
    const change = this.#inFlight.get(cookie);
    if (change === undefined) throw new Error(`a reply to ${cookie}, which was not asked or is answered`);
    this.#inFlight.delete(cookie);
    change.content.copy(this.#content, change.offset);
    this.#mark(change.offset, change.content.length, 0);
    this.acknowledged++;
    if (change.fua) this.acknowledgedFua++;
  }

  #mark(offset: number, lengthBytes: number, value: number): void {
    const [first, end] = this.#blocksOf(offset, lengthBytes);
    this.#busy.fill(value, first, end);
  }

  #blocksOf(offset: number, lengthBytes: number): [first: number, end: number] {
    const { blockBytes } = this.#disk;
    return [Math.floor(offset / blockBytes), Math.ceil((offset + lengthBytes) / blockBytes)];
  }

  #isSame(a: Buffer, b: Buffer, block: number): boolean {
    const start = block * this.#disk.blockBytes;
    const end = start + this.#disk.blockBytes;
    return a.compare(b, start, end, start, end) === 0;
  }

  #describe(disk: Buffer, changed: Buffer, block: number): string {
    const why = this.#busy[block] === 1 ? "is neither old nor new" : "is not what was acknowledged";
    const start = block * this.#disk.blockBytes;
    const [found, old, fresh] = [disk, this.#content, changed].map((content) =>
      stampsIn(content.subarray(start, start + this.#disk.blockBytes)),
    );
    return `block ${block} ${why}: it holds the stamps ${found}; old ${old}; new ${fresh}`;
  }
}

/** Talks to a server. @returns false when it went away meanwhile */
async function untilGone(client: NbdRawClient, talk: () => Promise<true>): Promise<boolean> {
  try {
    return await talk();
  } catch (error) {
    if (error instanceof Error && error.message.startsWith("the server hung up")) return false;
    throw error;
  } finally {
    client.vanish();
  }
}

/** Every word that the range touches says where on the disk it belongs and which change wrote it. */
function stamps(offset: number, lengthBytes: number, sequence: number): Buffer {
  const start = offset - (offset % wordBytes);
  const words = new Uint32Array(2 * Math.ceil((offset + lengthBytes - start) / wordBytes));
  for (let k = 0; k < words.length; k += 2) {
    words[k] = Math.floor((start + (k / 2) * wordBytes) / placeBytes);
    words[k + 1] = sequence;
  }
  return Buffer.from(words.buffer).subarray(offset - start, offset - start + lengthBytes);
}

/** The first few different stamps, as `place:sequence`. */
function stampsIn(content: Buffer): string {
  const found = new Set<string>();
  for (let at = 0; at + wordBytes <= content.length; at += wordBytes) {
    found.add(`${content.readUInt32LE(at)}:${content.readUInt32LE(at + 4)}`);
  }
  return [...found].slice(0, 6).join(" ");
}
