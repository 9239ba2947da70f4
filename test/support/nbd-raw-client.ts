// An NBD client that sends exactly the bytes it is told to, right or wrong, and shows what comes back.

import { once } from "node:events";
import { connect, type NetConnectOpts, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import { type ConnectionOptions, connect as connectTls } from "node:tls";

/** Data of INFO and GO. */
export function infoData(name: string | Buffer, infoTypes: readonly number[] = []): Buffer {
  return Buffer.concat([sized(name), u16(infoTypes.length), ...infoTypes.map(u16)]);
}

/** Data of LIST_META_CONTEXT and SET_META_CONTEXT. */
export function metaData(name: string, queries: readonly string[]): Buffer {
  return Buffer.concat([sized(name), u32(queries.length), ...queries.map(sized)]);
}

/** An option as it goes over the wire; `declaredLength` may lie. */
export function optionFrame(option: number, data: Buffer = Buffer.alloc(0), declaredLength?: number): Buffer {
  return Buffer.concat([Buffer.from("IHAVEOPT"), u32(option), u32(declaredLength ?? data.length), data]);
}

/** What a request may say. */
export interface RawRequest {
  readonly type: number;
  readonly flags?: number;
  readonly offset?: number | bigint;
  readonly length?: number;
  readonly cookie?: number;
  readonly magic?: number;
  /** Goes behind the header; gives the length where none is named. */
  readonly payload?: Buffer;
}

/** A request as it goes over the wire. */
export function requestFrame(request: RawRequest): Buffer {
  const header = Buffer.alloc(28);
  header.writeUInt32BE(request.magic ?? 0x25609513, 0);
  header.writeUInt16BE(request.flags ?? 0, 4);
  header.writeUInt16BE(request.type, 6);
  header.writeBigUInt64BE(BigInt(request.cookie ?? 1), 8);
  header.writeBigUInt64BE(BigInt(request.offset ?? 0), 16);
  header.writeUInt32BE(request.length ?? request.payload?.length ?? 0, 24);
  return request.payload === undefined ? header : Buffer.concat([header, request.payload]);
}

/** The same with an extended header. A payload is announced by its flag, unless flags are named. */
export function extendedFrame(request: RawRequest): Buffer {
  const flags = request.flags ?? (request.payload === undefined ? 0 : 0x20);
  const length = BigInt(request.length ?? request.payload?.length ?? 0);
  const compact = requestFrame({ magic: 0x21e41c71, ...request, flags, length: 0 });
  const lengthBytes = Buffer.alloc(8);
  lengthBytes.writeBigUInt64BE(length);
  return Buffer.concat([compact.subarray(0, 24), lengthBytes, compact.subarray(28)]);
}

export interface OptionReply {
  readonly option: number;
  readonly type: number;
  readonly data: Buffer;
}

export interface SimpleReply {
  readonly error: number;
  readonly cookie: number;
  readonly data: Buffer;
}

export interface Chunk {
  readonly flags: number;
  readonly type: number;
  readonly cookie: number;
  readonly payload: Buffer;
}

export interface ExtendedChunk extends Chunk {
  /** The offset of the request, as the header repeats it. */
  readonly offset: bigint;
}

/** The error number of a reply that is one error chunk and nothing else. */
export function errorOfChunks(chunks: readonly Chunk[]): number {
  if (chunks.length !== 1 || chunks[0].type !== 0x8001) throw new Error("no lone error chunk");
  return chunks[0].payload.readUInt32BE(0);
}

export class NbdRawClient {
  readonly socket: Socket;
  /** Resolves when the connection is gone, whoever ended it. */
  readonly closed: Promise<void>;
  readonly #received: Buffer[] = [];
  #receivedBytes = 0;
  #isClosed = false;
  #wake: () => void = () => {};

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on("data", (chunk: Buffer) => {
      this.#received.push(chunk);
      this.#receivedBytes += chunk.length;
      this.#wake();
    });
    socket.on("error", () => {});
    this.closed = new Promise((resolve) => {
      socket.on("close", () => {
        this.#isClosed = true;
        this.#wake();
        resolve();
      });
    });
  }

  /** Connects, without a word. */
  static connect(where: string | NetConnectOpts): Promise<NbdRawClient> {
    return new Promise((resolve, reject) => {
      const address = typeof where === "string" ? { path: where } : where;
      const socket = connect(address, () => resolve(new NbdRawClient(socket)));
      socket.once("error", reject);
    });
  }

  /** Connects, reads the hello and answers with flags. */
  static async greet(where: string | NetConnectOpts, flags = 3): Promise<NbdRawClient> {
    const client = await NbdRawClient.connect(where);
    await client.read(18);
    client.send(u32(flags));
    return client;
  }

  /** Connects and opens an export. */
  static async open(
    where: string | NetConnectOpts,
    name = "disk",
    wishes: { structured?: boolean; extended?: boolean; context?: boolean } = {},
  ): Promise<NbdRawClient> {
    const client = await NbdRawClient.greet(where);
    if (wishes.extended === true) await client.ask(11);
    if (wishes.structured === true) await client.ask(8);
    if (wishes.context === true) await client.ask(10, metaData(name, ["base:allocation"]));
    const replies = await client.ask(7, infoData(name));
    if (replies.at(-1)?.type !== 1) throw new Error(`GO failed: ${replies.at(-1)?.type.toString(16)}`);
    return client;
  }

  /**
   * Asks for TLS, and goes through the handshake.
   * @param through Stands between TLS and the socket.
   * @returns The same conversation, encrypted. Under TLS 1.3 the server may still refuse the certificate.
   */
  async startTls(
    options: ConnectionOptions,
    through: (socket: Socket) => Duplex = (same) => same,
  ): Promise<NbdRawClient> {
    const [{ type }] = await this.ask(5);
    if (type !== 1) throw new Error(`STARTTLS failed: ${type.toString(16)}`);
    this.socket.removeAllListeners("data");
    const secured = connectTls({ ...options, socket: through(this.socket) });
    await once(secured, "secureConnect");
    return new NbdRawClient(secured);
  }

  send(...buffers: readonly Buffer[]): void {
    for (const buffer of buffers) this.socket.write(buffer);
  }

  /** The next `count` bytes; fails when the connection ends before. */
  async read(count: number): Promise<Buffer> {
    while (this.#receivedBytes < count) {
      if (this.#isClosed) throw new Error(`the server hung up: ${count} bytes wanted, ${this.#receivedBytes} there`);
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    const all = Buffer.concat(this.#received.splice(0));
    if (all.length > count) this.#received.push(all.subarray(count));
    this.#receivedBytes = all.length - count;
    return all.subarray(0, count);
  }

  /** Everything that comes until the server hangs up; fails when it does not do so within five seconds. */
  async rest(): Promise<Buffer> {
    const deadline = AbortSignal.timeout(5_000);
    await Promise.race([this.closed, once(deadline, "abort")]);
    if (!this.#isClosed) throw new Error("the server did not hang up");
    return this.read(this.#receivedBytes);
  }

  async optionReply(): Promise<OptionReply> {
    const header = await this.read(20);
    if (header.readBigUInt64BE(0) !== 0x0003e889045565a9n) throw new Error("no option reply");
    const data = await this.read(header.readUInt32BE(16));
    return { option: header.readUInt32BE(8), type: header.readUInt32BE(12), data };
  }

  /** Sends an option and reads its replies, up to the ACK or the error. */
  async ask(option: number, data?: Buffer): Promise<OptionReply[]> {
    this.send(optionFrame(option, data));
    const replies: OptionReply[] = [];
    do replies.push(await this.optionReply());
    while (replies[replies.length - 1].type !== 1 && replies[replies.length - 1].type < 2 ** 31);
    return replies;
  }

  async simpleReply(dataBytes = 0): Promise<SimpleReply> {
    const header = await this.read(16);
    if (header.readUInt32BE(0) !== 0x67446698) throw new Error("no simple reply");
    const error = header.readUInt32BE(4);
    const data = await this.read(error === 0 ? dataBytes : 0);
    return { error, cookie: Number(header.readBigUInt64BE(8)), data };
  }

  /** The chunks of one structured reply. */
  async chunks(): Promise<Chunk[]> {
    const chunks: Chunk[] = [];
    do {
      const header = await this.read(20);
      if (header.readUInt32BE(0) !== 0x668e33ef) throw new Error("no structured reply chunk");
      chunks.push({
        flags: header.readUInt16BE(4),
        type: header.readUInt16BE(6),
        cookie: Number(header.readBigUInt64BE(8)),
        payload: await this.read(header.readUInt32BE(16)),
      });
    } while ((chunks[chunks.length - 1].flags & 1) === 0);
    return chunks;
  }

  /** The chunks of one reply with extended headers. */
  async extendedChunks(): Promise<ExtendedChunk[]> {
    const chunks: ExtendedChunk[] = [];
    do {
      const header = await this.read(32);
      if (header.readUInt32BE(0) !== 0x6e8a278c) throw new Error("no extended reply chunk");
      chunks.push({
        flags: header.readUInt16BE(4),
        type: header.readUInt16BE(6),
        cookie: Number(header.readBigUInt64BE(8)),
        offset: header.readBigUInt64BE(16),
        payload: await this.read(Number(header.readBigUInt64BE(24))),
      });
    } while ((chunks[chunks.length - 1].flags & 1) === 0);
    return chunks;
  }

  /** Sends a request with an extended header and gives the error number of its reply, which holds nothing else. */
  async extendedErrorOf(request: RawRequest): Promise<number> {
    this.send(extendedFrame(request));
    const chunks = await this.extendedChunks();
    return chunks.length === 1 && chunks[0].type === 0 ? 0 : errorOfChunks(chunks);
  }

  /** Sends a request and gives the error number of its simple reply. */
  async errorOf(request: RawRequest): Promise<number> {
    this.send(requestFrame(request));
    return (await this.simpleReply()).error;
  }

  /** Leaves without a goodbye. */
  vanish(): void {
    this.socket.destroy();
  }
}

/** The clients of a test: they go when it is over, also when it fails. */
export class KeptClients {
  readonly #clients: NbdRawClient[] = [];

  async keep(made: Promise<NbdRawClient>): Promise<NbdRawClient> {
    const client = await made;
    this.#clients.push(client);
    return client;
  }

  vanish(): void {
    for (const client of this.#clients) client.vanish();
  }
}

function sized(text: string | Buffer): Buffer {
  return Buffer.concat([u32(Buffer.byteLength(text)), Buffer.from(text)]);
}

function u16(value: number): Buffer {
  return Buffer.from([value >> 8, value & 0xff]);
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}
