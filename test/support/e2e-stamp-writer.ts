// Writes to a disk over NBD, knows what was acknowledged, and judges what a kill has left of it.

import assert from "node:assert/strict";
import { below, pick, type Random } from "../../src/testing/index.ts";
import { NbdRawClient, type RawRequest, requestFrame } from "./nbd-raw-client.ts";

const KiB = 2 ** 10;
const blockBytes = 4 * KiB;
const wordBytes = 8;
const command = { write: 1, trim: 4, writeZeroes: 6 } as const;
const FUA = 1;
/** Requests that one connection has under way. */
const depth = 4;
/** Large ones keep the server storing, so that a kill lands in the middle of it. */
const sizes = [512, blockBytes, 64 * KiB, 256 * KiB, 1024 * KiB];

/** A change that was sent and not yet acknowledged. */
interface Change {
  readonly offset: number;
  readonly content: Buffer;
  readonly fua: boolean;
}

/** What a kill has left. */
export interface Aftermath {
  /** Requests that were under way. */
  inFlight: number;
  /** Blocks of theirs that hold the new content, and those that hold the old. */
  newBlocks: number;
  oldBlocks: number;
}

export class StampWriter {
  acknowledged = 0;
  acknowledgedFua = 0;
  readonly #random: Random;
  /** The disk as acknowledged changes have made it. */
  readonly #content: Buffer;
  /** Blocks that a change under way touches: two on one block could land in either order. */
  readonly #busy: Uint8Array;
  readonly #inFlight = new Map<number, Change>();
  #sequence = 0;

  /** @param sizeBytes of a disk that is empty */
  constructor(sizeBytes: number, random: Random) {
    this.#random = random;
    this.#content = Buffer.alloc(sizeBytes);
    this.#busy = new Uint8Array(Math.ceil(sizeBytes / blockBytes));
  }

  /** Opens connections and keeps them busy until the server is gone. @returns one promise for each connection */
  async start(socket: string, disk: string, connections: number): Promise<Promise<void>[]> {
    const clients: NbdRawClient[] = [];
    for (let k = 0; k < connections; k++) clients.push(await NbdRawClient.open(socket, disk));
    return clients.map((client) => this.#keepBusy(client));
  }

  /**
   * Compares the disk with what it may hold: each block is wholly what was acknowledged, or wholly what a change under
   * way would have made of it. What is there is what counts from now on.
   */
  judge(disk: Buffer): Aftermath {
    const aftermath = { inFlight: this.#inFlight.size, newBlocks: 0, oldBlocks: 0 };
    const changed = Buffer.from(this.#content);
    for (const { offset, content } of this.#inFlight.values()) content.copy(changed, offset);
    for (let block = 0; block < this.#busy.length; block++) {
      const isOld = isSame(disk, this.#content, block);
      if (!isOld && !isSame(disk, changed, block)) assert.fail(this.#describe(disk, changed, block));
      if (this.#busy[block] === 1) aftermath[isOld ? "oldBlocks" : "newBlocks"]++;
    }
    disk.copy(this.#content);
    this.#busy.fill(0);
    this.#inFlight.clear();
    return aftermath;
  }

  async #keepBusy(client: NbdRawClient): Promise<void> {
    try {
      for (let k = 0; k < depth; k++) this.#send(client);
      for (;;) {
        const { error, cookie } = await client.simpleReply();
        if (error !== 0) throw new Error(`a change was answered with error ${error}`);
        this.#acknowledge(cookie);
        this.#send(client);
      }
    } catch (error) {
      if (!(error instanceof Error && error.message.startsWith("the server hung up"))) throw error;
    } finally {
      client.vanish();
    }
  }

  #send(client: NbdRawClient): void {
    const { offset, lengthBytes } = this.#place();
    const sequence = ++this.#sequence;
    const dice = this.#random();
    const type = dice < 0.8 ? command.write : dice < 0.9 ? command.trim : command.writeZeroes;
    const fua = this.#random() < 0.3;
    const isWrite = type === command.write;
    const content = isWrite ? stamps(offset, lengthBytes, sequence) : Buffer.alloc(lengthBytes);
    this.#inFlight.set(sequence, { offset, content, fua });
    this.#mark(offset, lengthBytes, 1);
    const request: RawRequest = { type, flags: fua ? FUA : 0, offset, length: lengthBytes, cookie: sequence };
    client.send(requestFrame(isWrite ? { ...request, payload: content } : request));
  }

  /** Finds a range of which no block is busy; half of them begin and end anywhere. */
  #place(): { offset: number; lengthBytes: number } {
    for (;;) {
      const unit = this.#random() < 0.5 ? blockBytes : 1;
      const most = pick(this.#random, sizes);
      const lengthBytes = Math.max(unit, Math.ceil((this.#random() * most) / unit) * unit);
      const offset = below(this.#random, (this.#content.length - lengthBytes) / unit + 1) * unit;
      const [first, end] = blocksOf(offset, lengthBytes);
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
    const [first, end] = blocksOf(offset, lengthBytes);
    this.#busy.fill(value, first, end);
  }

  #describe(disk: Buffer, changed: Buffer, block: number): string {
    const why = this.#busy[block] === 1 ? "is neither old nor new" : "is not what was acknowledged";
    const [found, old, fresh] = [disk, this.#content, changed].map((content) => stampsIn(content, block));
    return `block ${block} ${why}: it holds the stamps ${found}; old ${old}; new ${fresh}`;
  }
}

function isSame(a: Buffer, b: Buffer, block: number): boolean {
  const start = block * blockBytes;
  return a.compare(b, start, start + blockBytes, start, start + blockBytes) === 0;
}

function blocksOf(offset: number, lengthBytes: number): [first: number, end: number] {
  return [Math.floor(offset / blockBytes), Math.ceil((offset + lengthBytes) / blockBytes)];
}

/** Every word of the disk that the range touches says which block it belongs to and which change wrote it. */
function stamps(offset: number, lengthBytes: number, sequence: number): Buffer {
  const start = offset - (offset % wordBytes);
  const words = new Uint32Array(2 * Math.ceil((offset + lengthBytes - start) / wordBytes));
  for (let k = 0; k < words.length; k += 2) {
    words[k] = Math.floor((start + (k / 2) * wordBytes) / blockBytes);
    words[k + 1] = sequence;
  }
  return Buffer.from(words.buffer).subarray(offset - start, offset - start + lengthBytes);
}

/** The first few different stamps of a block, as `block:sequence`. */
function stampsIn(content: Buffer, block: number): string {
  const found = new Set<string>();
  const end = Math.min((block + 1) * blockBytes, content.length);
  for (let at = block * blockBytes; at + wordBytes <= end; at += wordBytes) {
    found.add(`${content.readUInt32LE(at)}:${content.readUInt32LE(at + 4)}`);
  }
  return [...found].slice(0, 6).join(" ");
}
