import type { Socket } from "node:net";
import { assert } from "../base/index.ts";
import { ByteQueue } from "./byte-queue.ts";
import type { Inbox } from "./inbox.ts";
import { maxPayloadBytes, maxRelayedBytes, maxRelayedRequests, maxUnsentBytes } from "./limits.ts";
import { COMMAND, NBD_ERROR, REQUEST_MAGIC, SIMPLE_REPLY_MAGIC } from "./protocol.ts";
import { Request } from "./request.ts";
import { type Echo, REQUEST, SIMPLE_REPLY, writeSimpleReply } from "./wire.ts";

/** A request that was not answered yet. */
interface Pending {
  /** As it goes to the server, payload included; its cookie is the number of the request. */
  readonly frame: Buffer;
  /** What the client knows the request by. */
  readonly echo: Echo;
  /** Data that follow a reply without error. */
  readonly replyBytes: number;
}

/** A message that has begun to arrive. */
interface Arriving {
  readonly bytes: Buffer;
  filled: number;
}

/**
 * One client of a relay in the command phase, and what it has asked for. The server behind it may go and come back:
 *
 *     client --request--> pending --frame--> server
 *                          | ^  \
 *                  answer <+ |   +-- all of them again, in their order, to the server that comes next
 *                            +-- until it is answered
 *
 * Sending again is right because every command of NBD does the same when it is done twice, and because a client that
 * has two requests under way leaves their order to the server. It relies on two promises of the server: what was
 * answered outlives it, and what one connection has left undone is not done once the next one serves.
 */
export class RelayedClient {
  readonly #client: Socket;
  readonly #onLeave: () => void;
  readonly #request: Request = new Request(false);
  /** Requests by number, oldest first. */
  readonly #pending: Map<number, Pending> = new Map();
  #pendingBytes = 0;
  #lastNumber = 0;
  readonly #requests: ByteQueue = new ByteQueue();
  #arrivingRequest: Arriving | undefined;
  #server: Socket | undefined;
  #replies: ByteQueue = new ByteQueue();
  #arrivingReply: Arriving | undefined;
  /** The present server has answered something, or was not asked when it came. */
  #served = false;
  /** The client sends no more. */
  #leaving = false;
  #gone = false;
  /** Nobody waits for the server any longer: what comes fails at once. */
  #hopeless = false;
  /** Told of a server that says that it shuts down. */
  onShutdown: () => void = () => {};

  /** @param onLeave called once, when the client is gone */
  constructor(client: Socket, onLeave: () => void) {
    this.#client = client;
    this.#onLeave = onLeave;
  }

  /** Takes requests from now on; `inbox` holds what the client sent beyond its handshake. */
  begin(inbox: Inbox): void {
    const client = this.#client;
    const early = inbox.release();
    client.on("data", (chunk: Buffer) => this.#receiveRequests(chunk));
    client.on("end", () => this.#leave());
    client.on("drain", () => this.#server?.resume());
    client.on("close", () => this.#close());
    this.#receiveRequests(early);
  }

  /**
   * A server is there: it gets everything that was not answered.
   *
   * @returns when it is gone: whether it did what it was asked, or a part of it
   */
  serve(server: Socket, inbox: Inbox): Promise<boolean> {
    this.#served = this.#pending.size === 0;
    this.#server = server;
    this.#hopeless = false;
    this.#replies = new ByteQueue();
    this.#arrivingReply = undefined;
    const gone = new Promise<boolean>((resolve) => {
      const forget = (): void => {
        if (this.#server === server) this.#server = undefined;
        resolve(this.#served);
      };
      server.on("close", forget);
      if (server.destroyed) forget();
    });
    const early = inbox.release();
    server.on("data", (chunk: Buffer) => this.#receiveReplies(server, chunk));
    server.on("end", () => server.destroy());
    for (const { frame } of this.#pending.values()) server.write(frame);
    this.#receiveReplies(server, early);
    this.#finish();
    return gone;
  }

  /** Answers EIO to everything from now on, until a server is there. */
  giveUp(): void {
    this.#hopeless = true;
    // What is answered is forgotten on the way, which a Map allows.
    for (const number of this.#pending.keys()) this.#fail(number, NBD_ERROR.EIO);
    this.#takeRequests();
  }

  /** Cuts both connections. */
  destroy(): void {
    this.#client.destroy();
    this.#close();
  }

  #receiveRequests(chunk: Buffer): void {
    this.#requests.push(chunk);
    this.#takeRequests();
  }

  /** Takes as many requests as may be kept. */
  #takeRequests(): void {
    if (this.#gone) return;
    while (!this.#leaving && !this.#isFull && this.#takeRequest()) {
      // Each of them went to the server or waits for one.
    }
    if (this.#isFull) this.#client.pause();
    else this.#client.resume();
  }

  get #isFull(): boolean {
    return this.#pending.size >= maxRelayedRequests || this.#pendingBytes >= maxRelayedBytes;
  }

  /** @returns false when bytes are missing */
  #takeRequest(): boolean {
    const queue = this.#requests;
    const request = this.#request;
    if (this.#arrivingRequest === undefined) {
      if (queue.lengthBytes < REQUEST.sizeBytes) return false;
      const header = queue.take(REQUEST.sizeBytes);
      if (!request.decode(header) || request.payloadBytes > maxPayloadBytes) {
        this.destroy();
        return false;
      }
      const bytes = Buffer.allocUnsafeSlow(REQUEST.sizeBytes + request.payloadBytes);
      header.copy(bytes);
      this.#arrivingRequest = { bytes, filled: REQUEST.sizeBytes };
    }
    if (!fill(this.#arrivingRequest, queue)) return false;
    const { bytes } = this.#arrivingRequest;
    this.#arrivingRequest = undefined;
    if (request.type === COMMAND.DISC) this.#leave();
    else this.#forward(bytes);
    return true;
  }

  #forward(frame: Buffer): void {
    const { type, lengthBytes, cookieHigh, cookieLow, offsetHigh, offsetLow } = this.#request;
    const number = this.#nextNumber();
    // The client may number its requests as it likes; ours must not meet an answer to another one.
    frame.writeUInt32BE(0, REQUEST.cookieHigh);
    frame.writeUInt32BE(number, REQUEST.cookieLow);
    const echo = { cookieHigh, cookieLow, offsetHigh, offsetLow, extended: false };
    const replyBytes = type === COMMAND.READ ? lengthBytes : 0;
    this.#pending.set(number, { frame, echo, replyBytes });
    this.#pendingBytes += frame.length;
    // No reply is passed on before it is here as a whole, so a reply must fit.
    if (replyBytes > maxPayloadBytes) this.#fail(number, NBD_ERROR.EINVAL);
    else if (this.#server !== undefined) this.#server.write(frame);
    else if (this.#hopeless) this.#fail(number, NBD_ERROR.EIO);
  }

  #nextNumber(): number {
    do this.#lastNumber = (this.#lastNumber + 1) % 2 ** 32;
    while (this.#pending.has(this.#lastNumber));
    return this.#lastNumber;
  }

  #receiveReplies(server: Socket, chunk: Buffer): void {
    // What a server sent whose connection was given up is answered by the next one.
    if (server !== this.#server || this.#gone) return;
    this.#replies.push(chunk);
    this.#client.cork();
    while (server === this.#server && this.#takeReply()) {
      // Each of them went to the client.
    }
    this.#client.uncork();
    if (this.#client.writableLength > maxUnsentBytes) server.pause();
    this.#takeRequests();
    this.#finish();
  }

  /**
   * A reply goes to the client as a whole or not at all: one of which the server sent a part before it died must not
   * leave half a reply behind.
   *
   * @returns false when bytes are missing
   */
  #takeReply(): boolean {
    const queue = this.#replies;
    if (this.#arrivingReply === undefined) {
      if (queue.lengthBytes < SIMPLE_REPLY.sizeBytes) return false;
      const header = queue.take(SIMPLE_REPLY.sizeBytes);
      const number = header.readUInt32BE(SIMPLE_REPLY.cookieLow);
      const error = header.readUInt32BE(SIMPLE_REPLY.error);
      const pending = this.#pending.get(number);
      if (header.readUInt32BE(SIMPLE_REPLY.magic) !== SIMPLE_REPLY_MAGIC || pending === undefined) {
        this.#server?.destroy();
        this.#server = undefined;
        return false;
      }
      if (error === NBD_ERROR.ESHUTDOWN) {
        // It was not done: the server that comes next gets it again.
        this.onShutdown();
        return true;
      }
      const bytes = Buffer.allocUnsafeSlow(
        SIMPLE_REPLY.sizeBytes + (error === NBD_ERROR.NONE ? pending.replyBytes : 0),
      );
      header.copy(bytes);
      this.#arrivingReply = { bytes, filled: SIMPLE_REPLY.sizeBytes };
    }
    if (!fill(this.#arrivingReply, queue)) return false;
    const { bytes } = this.#arrivingReply;
    this.#arrivingReply = undefined;
    this.#served = true;
    this.#answer(bytes.readUInt32BE(SIMPLE_REPLY.cookieLow), bytes, bytes.readUInt32BE(SIMPLE_REPLY.error));
    return true;
  }

  #fail(number: number, error: number): void {
    this.#answer(number, Buffer.alloc(SIMPLE_REPLY.sizeBytes), error);
  }

  #answer(number: number, reply: Buffer, error: number): void {
    const pending = this.#pending.get(number);
    assert(pending !== undefined, "what is answered was asked for");
    this.#pending.delete(number);
    this.#pendingBytes -= pending.frame.length;
    writeSimpleReply(reply, pending.echo, error);
    this.#client.write(reply);
  }

  /** The client sends nothing more; what it asked for is still answered. */
  #leave(): void {
    this.#leaving = true;
    this.#finish();
  }

  /** Says goodbye on both sides when nothing is left to do. */
  #finish(): void {
    if (!this.#leaving || this.#pending.size > 0 || this.#gone) return;
    this.#client.end();
    this.#close();
  }

  #close(): void {
    if (this.#gone) return;
    this.#gone = true;
    const server = this.#server;
    this.#server = undefined;
    // A client that said goodbye had been answered everything; of another one the rest need not be done.
    if (this.#leaving && this.#pending.size === 0) server?.end(goodbye());
    else server?.destroy();
    this.#pending.clear();
    this.#onLeave();
  }
}

/** @returns whether all of it is there */
function fill(arriving: Arriving, queue: ByteQueue): boolean {
  const missing = Math.min(arriving.bytes.length - arriving.filled, queue.lengthBytes);
  queue.take(missing).copy(arriving.bytes, arriving.filled);
  arriving.filled += missing;
  return arriving.filled === arriving.bytes.length;
}

/** A request to disconnect. */
export function goodbye(): Buffer {
  const frame = Buffer.alloc(REQUEST.sizeBytes);
  frame.writeUInt32BE(REQUEST_MAGIC, REQUEST.magic);
  frame.writeUInt16BE(COMMAND.DISC, REQUEST.type);
  return frame;
}
