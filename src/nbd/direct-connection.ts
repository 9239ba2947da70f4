import { assert } from "../base/index.ts";
import { closeSocket, endSending, errnoOf, pollFor, receiveNow, sendBytesNow } from "../os/index.ts";
import type { Batch } from "./batch.ts";
import type { Clock } from "./clock.ts";
import { type Cursor, DataPath, type Outlet } from "./data-path.ts";
import { lingerMs, maxUnsentBytes } from "./limits.ts";
import type { Log } from "./log.ts";
import type { Session } from "./session.ts";
import type { Transport } from "./transport.ts";

/** What a connection has of the thread that serves it. */
export interface ConnectionHost {
  readonly batch: Batch;
  readonly clock: Clock;
  readonly log: Log;
  /** Calls `handle` with no events when others had their turn. */
  yieldTurn(connection: DirectConnection): void;
  /** Watches the descriptor for other events from now on. */
  watch(connection: DirectConnection, events: number): void;
  /** The descriptor is about to be closed. */
  forget(connection: DirectConnection): void;
}

/** Receives of one connection before others have their turn, and receives in vain before it waits for the poller. */
const maxRounds = 16;
const maxMisses = 8;
/** Who sends so much at a time has more to say. */
const burstBytes: number = 16 * 1024;

/** A peer that vanishes is an ordinary event. EFAULT is none of it: there is no memory any more where a page was. */
function isOfPeer(error: unknown): boolean {
  const errno = errnoOf(error);
  return errno !== undefined && errno !== "EFAULT";
}

/** Requests that the session is given in one turn of the connection: each may take it as long as a turn of its own. */
const maxDeclined = 32;

const nothing: Cursor = { start: 0, end: 0 };

/**
 * Carries a session over a socket that a thread polls. Reads and writes of the command phase take the data path, all
 * else the session; both send in order, since each works only when the other has nothing begun and nothing unsent.
 */
export class DirectConnection implements Transport, Outlet {
  readonly fd: number;
  bytesReceived = 0;
  readonly #host: ConnectionHost;
  #session: Session | undefined;
  #path: DataPath | undefined;
  /** Received, and to be looked at when the socket has room again, or with what comes next. */
  #waiting: Buffer | undefined;
  #unsent: Buffer[] = [];
  #unsentBytes = 0;
  #blocked = false;
  /** The data path goes on when others had their turn. */
  #tired = false;
  #paused = false;
  /** It has moved more than limits of rates allow: nothing is read or sent until that has evened out. */
  #resting = false;
  #cancelRest: () => void = () => {};
  #draining = false;
  #state: "open" | "ending" | "closed" = "open";
  #inputEnded = false;
  #watched: number = pollFor.readable;
  /** Told when the data path has nothing begun any more. */
  #quietWaiters: (() => void)[] = [];

  /** When something moved last. */
  #movedMs: number = performance.now();

  constructor(fd: number, host: ConnectionHost) {
    this.fd = fd;
    this.#host = host;
  }

  /** With an idle limit above 0 the connection is cut when nothing moves for so long. */
  attach(session: Session, idleTimeoutMs: number): void {
    this.#session = session;
    if (idleTimeoutMs > 0) this.#cutWhenIdle(idleTimeoutMs, idleTimeoutMs);
  }

  #cutWhenIdle(limitMs: number, waitMs: number): void {
    this.#host.clock.after(waitMs, () => {
      const leftMs = this.#movedMs + limitMs - performance.now();
      if (this.#resting || this.session.resting) this.#cutWhenIdle(limitMs, limitMs);
      else if (leftMs <= 0) this.destroy();
      else if (this.#state !== "closed") this.#cutWhenIdle(limitMs, leftMs);
    });
  }

  get session(): Session {
    return this.#session as Session;
  }

  get requests(): number {
    return this.session.requests + (this.#path?.requests ?? 0);
  }

  get bytesSent(): number {
    return this.session.bytesSent + (this.#path?.bytesSent ?? 0);
  }

  /** Refuses everything new from now on. Resolves when what was begun is answered. */
  async drain(): Promise<void> {
    // What the data path declines from now on, the session must refuse: it, too, has to know at once.
    const drained = this.session.drain();
    this.#stopResting();
    this.#watch();
    this.#draining = true;
    if (this.#path !== undefined) {
      this.#path.draining = true;
      if (this.#path.busy) await new Promise<void>((resolve) => this.#quietWaiters.push(resolve));
    }
    await drained;
    await this.session.drain();
  }

  get gone(): Promise<void> {
    return this.session.gone;
  }

  /** Leaves the socket to somebody else. @returns what it did not take yet */
  release(): Buffer {
    this.#state = "closed";
    return Buffer.concat(this.#unsent);
  }

  /** Something happened on the socket, or nothing and it is the connection's turn again. */
  handle(events: number): void {
    this.#movedMs = performance.now();
    try {
      if (events === 0) this.#takeTurn();
      if ((events & this.#watched & pollFor.writable) !== 0) this.#goOn();
      if ((events & this.#watched & pollFor.readable) !== 0) this.#receiveAll();
      // With nothing to receive any more, there is nobody left to send to.
      else if ((events & (pollFor.error | pollFor.hangUp)) !== 0) this.destroy();
    } catch (error) {
      if (!isOfPeer(error)) this.#host.log.error({ err: error }, "a connection failed inside the server");
      this.destroy();
    }
    this.#tellQuiet();
  }

  // ---- Transport -------------------------------------------------------------------------------------------

  write(buffers: readonly Buffer[]): boolean {
    try {
      for (const buffer of buffers) {
        const sent = this.#unsentBytes > 0 || this.#state === "closed" ? 0 : this.#trySend(buffer);
        if (sent < buffer.length) this.keep(buffer.subarray(sent));
      }
    } catch (error) {
      if (!isOfPeer(error)) throw error;
      // It is gone, and the session is not to work for nobody; it is told when it is done with this call.
      this.#host.clock.soon(() => this.destroy());
      return false;
    }
    this.#watch();
    return this.#unsentBytes <= maxUnsentBytes;
  }

  pause(): void {
    this.#paused = true;
    this.#watch();
  }

  resume(): void {
    this.#paused = false;
    this.#movedMs = performance.now();
    this.#watch();
  }

  startTls(): void {
    assert(false, "who wants TLS goes on in the event loop");
  }

  end(): void {
    if (this.#state !== "open") return;
    this.#state = "ending";
    this.#paused = false;
    if (this.#unsentBytes === 0) this.#sayGoodbye();
    this.#watch();
  }

  destroy(): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#stopResting();
    this.#path?.abandon();
    this.#host.forget(this);
    closeSocket(this.fd);
    this.#host.clock.soon(() => this.session.closed());
    this.#tellQuiet();
  }

  // ---- Outlet ----------------------------------------------------------------------------------------------

  keep(bytes: Buffer): void {
    this.#unsent.push(bytes);
    this.#unsentBytes += bytes.length;
  }

  /** What has no time to go on has it when the socket has room, after the rest. */
  rest(): boolean {
    const restMs = this.session.throttle?.settle() ?? 0;
    if (restMs === 0 || this.#resting || this.#state !== "open") return this.#resting;
    this.#resting = true;
    this.#blocked = true;
    this.#cancelRest = this.#host.clock.after(restMs, () => {
      this.#resting = false;
      this.#movedMs = performance.now();
      this.#watch();
    });
    return true;
  }

  #stopResting(): void {
    this.#resting = false;
    this.#cancelRest();
  }

  // ---- receiving -------------------------------------------------------------------------------------------

  /** Receives again while more is about to come: a client that has sent a header is sending its payload. */
  #receiveAll(): void {
    for (let rounds = 0, misses = 0; rounds < maxRounds && misses < maxMisses; rounds++) {
      const count = this.#receive();
      const goesOn = this.#path?.awaitsPayload === true || count >= burstBytes;
      if (!goesOn || (this.#watched & pollFor.readable) === 0 || this.#inputEnded) return;
      misses = count < 0 ? misses + 1 : 0;
    }
  }

  /** @returns how many bytes came; -1 when there were none */
  #receive(): number {
    const { receiving, input, inputAddress } = this.#host.batch.bench;
    const path = this.#usablePath;
    receiving.clear();
    const placesBytes = path?.gatherPlaces(receiving) ?? 0;
    const waiting = this.#takeWaiting();
    const room = Math.min(input.length - waiting, path?.inputLimit ?? Number.POSITIVE_INFINITY);
    receiving.add(inputAddress + waiting, room);
    const count = receiveNow(this.fd, receiving.address, receiving.count);
    if (count === 0) this.#inputEnded = true;
    const received = Math.max(0, count);
    this.bytesReceived += received;
    const placed = Math.min(received, placesBytes);
    path?.received(placed);
    this.#work({ start: 0, end: waiting + received - placed });
    return count;
  }

  /** Puts what waits at the start of the input. @returns how many bytes those are */
  #takeWaiting(): number {
    const waiting = this.#waiting;
    if (waiting === undefined) return 0;
    this.#waiting = undefined;
    return waiting.copy(this.#host.batch.bench.input);
  }

  /** The client sends no more: what it asked is answered, and that is all. */
  #endInput(): void {
    if (this.#state === "open") this.session.receiveEnd();
    else this.destroy();
  }

  /** The data path, when the client has chosen a device that has one and the session has nothing to do. */
  get #usablePath(): DataPath | undefined {
    const { session } = this;
    if (!session.idle) return undefined;
    if (this.#path === undefined && session.agreement !== undefined) {
      const { direct } = session.agreement.export.device;
      if (direct !== undefined) {
        this.#path = new DataPath(session.agreement, direct, this, this.#host);
        this.#path.draining = this.#draining;
      }
    }
    return this.#path;
  }

  /** Serves what was received. What can neither be served nor given to the session waits for room in the socket. */
  #work(cursor: Cursor): void {
    this.#path?.beginTurn();
    for (let declined = 0; this.#state === "open"; declined++) {
      const isFull = this.#blocked || this.#unsentBytes > 0;
      if (isFull && this.session.idle) break;
      const path = isFull ? undefined : this.#usablePath;
      const pause = path?.serve(cursor);
      this.#blocked = pause === "blocked" || pause === "resting";
      if (this.#blocked || pause === "starved") break;
      if (pause === "tired" || declined === maxDeclined) {
        this.#yieldTurn();
        break;
      }
      if (cursor.start === cursor.end && path?.substitute === undefined) break;
      this.#giveToSession(cursor, path);
    }
    this.#keepInput(cursor);
    this.rest();
    if (this.#inputEnded && !this.#blocked && !this.#tired && this.#unsentBytes === 0) this.#endInput();
    this.#watch();
  }

  #yieldTurn(): void {
    this.#tired = true;
    this.#host.yieldTurn(this);
  }

  #takeTurn(): void {
    this.#tired = false;
    if (this.#state === "open") this.#work({ ...nothing, end: this.#takeWaiting() });
  }

  #giveToSession(cursor: Cursor, path: DataPath | undefined): void {
    const { input } = this.#host.batch.bench;
    const { session } = this;
    if (path?.substitute !== undefined) {
      const header = path.substitute;
      path.substitute = undefined;
      session.receive(header);
    }
    const end = Math.min(cursor.end, cursor.start + (path?.declinedBytes ?? Number.POSITIVE_INFINITY));
    const bytes = Buffer.from(input.subarray(cursor.start, end));
    cursor.start = end;
    session.receive(bytes);
  }

  #keepInput({ start, end }: Cursor): void {
    if (start === end || this.#state !== "open") return;
    this.#waiting = Buffer.from(this.#host.batch.bench.input.subarray(start, end));
  }

  // ---- sending ---------------------------------------------------------------------------------------------

  /** The socket has room again. */
  #goOn(): void {
    while (this.#unsent.length > 0) {
      const [first] = this.#unsent;
      const sent = this.#trySend(first);
      this.#unsentBytes -= sent;
      if (sent < first.length) {
        this.#unsent[0] = first.subarray(sent);
        return;
      }
      this.#unsent.shift();
    }
    this.#blocked = false;
    if (this.#state === "ending") {
      this.#sayGoodbye();
      this.#watch();
    }
    if (this.#state !== "open") return;
    this.session.writable();
    this.#work({ ...nothing, end: this.#takeWaiting() });
  }

  #trySend(bytes: Buffer): number {
    return Math.max(0, sendBytesNow(this.fd, bytes));
  }

  /** Closing a socket with unread bytes resets it, which may overtake our last replies: so it is read for a while. */
  #sayGoodbye(): void {
    endSending(this.fd);
    this.#host.clock.after(lingerMs, () => this.destroy());
    if (this.#inputEnded) this.destroy();
  }

  /** What the client asks waits while replies to it do. */
  #watch(): void {
    if (this.#state === "closed") return;
    // Its state at this moment shows when the rest is over.
    const rests = this.#resting && this.#state === "open";
    const waits = this.#blocked || this.#unsentBytes > 0;
    // Who says goodbye reads on, whatever waits, until the client is gone, too.
    const reads = !this.#inputEnded && (this.#state === "ending" || !(this.#paused || this.#tired || waits));
    const events = rests ? 0 : (reads ? pollFor.readable : 0) | (waits ? pollFor.writable : 0);
    if (events === this.#watched) return;
    this.#watched = events;
    this.#host.watch(this, events);
  }

  #tellQuiet(): void {
    if (this.#quietWaiters.length === 0 || (this.#state === "open" && this.#path?.busy === true)) return;
    const waiters = this.#quietWaiters;
    this.#quietWaiters = [];
    for (const resolve of waiters) resolve();
  }
}
