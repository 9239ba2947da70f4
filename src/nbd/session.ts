import type { Visit } from "./admission.ts";
import { ByteQueue } from "./byte-queue.ts";
import type { Clock } from "./clock.ts";
import type { ConnectionCounts } from "./connection-table.ts";
import type { Export, ExportTable } from "./exports.ts";
import { maxUnsentBytes, maxWaitingBytes, throttledTurnBytes, turnBytes } from "./limits.ts";
import type { Log } from "./log.ts";
import { type Agreement, type Haggled, type HandOver, Negotiation } from "./negotiation.ts";
import type { Phase } from "./phase.ts";
import { ReplyWriter } from "./reply-writer.ts";
import type { Throttle } from "./throttle.ts";
import type { TlsMode } from "./tls-options.ts";
import { Transmission } from "./transmission.ts";
import type { Transport } from "./transport.ts";

export interface SessionOptions {
  /** What the connection is called in the log. */
  readonly id: number;
  readonly exports: ExportTable;
  readonly tls: TlsMode;
  readonly log: Log;
  readonly clock: Clock;
  /** Time for the whole option phase, a TLS handshake included. */
  readonly handshakeTimeoutMs: number;
  /** Refuse everything new from the start. */
  readonly draining: boolean;
  /** Decides which exports the client may open; without it, all. */
  readonly visit?: Visit;
  /** Counts what the connection moves where the session does not see all of it. */
  readonly meter?: ConnectionCounts;
  /** Of a conversation that began in another thread. */
  readonly haggled?: Haggled;
  /** Told when the client has chosen an export. */
  readonly onOpen?: (chosen: Export) => void;
  /** Told when the client wants what another thread has: it goes on there, and this session is over. */
  readonly onElsewhere?: (conversation: Omit<HandOver, "unsent">) => void;
}

/**
 * One conversation with one client. It drives the phases by steps: as many as make up a turn, then the event loop
 * serves others. It stops while a turn is over, while replies wait for a slow reader, and when bytes are missing.
 */
export class Session {
  /** Resolves when the connection is gone. */
  readonly gone: Promise<void>;
  bytesReceived = 0;
  bytesSent = 0;

  readonly #id: number;
  readonly #transport: Transport;
  readonly #log: Log;
  readonly #clock: Clock;
  readonly #queue: ByteQueue = new ByteQueue();
  readonly #out: ReplyWriter = new ReplyWriter();
  readonly #negotiation: Negotiation;
  readonly #onOpen: SessionOptions["onOpen"];
  readonly #onElsewhere: SessionOptions["onElsewhere"];
  #transmission: Transmission | undefined;
  #state: "open" | "ended" | "closed" = "open";
  readonly #cancelHandshakeTimer: () => void;
  /** The rest of a turn is scheduled. */
  #turnPending = false;
  /** The transport has as many unsent bytes as it takes. */
  #blocked = false;
  #paused = false;
  #inputEnded = false;
  /** Holds the connection to limits of rates, where there are any. */
  #throttle: Throttle | undefined;
  readonly #visit: Visit | undefined;
  readonly #meter: ConnectionCounts;
  /** It has moved more than those allow, and is not read until that has evened out. */
  #resting = false;
  #cancelRest: () => void = () => {};
  /** Told when no request is in progress, or none ever will be. */
  #quietWaiters: (() => void)[] = [];
  #tellGone: () => void = () => {};

  constructor(transport: Transport, options: SessionOptions) {
    this.#id = options.id;
    this.#transport = transport;
    this.#log = options.log;
    this.#clock = options.clock;
    this.gone = new Promise((resolve) => {
      this.#tellGone = resolve;
    });
    this.#negotiation = new Negotiation(options.exports, this.#out, {
      tls: options.tls,
      haggled: options.haggled,
      hasEventLoop: options.onElsewhere === undefined,
      visit: options.visit,
    });
    this.#visit = options.visit;
    this.#meter = options.meter ?? this;
    this.#onOpen = options.onOpen;
    this.#onElsewhere = options.onElsewhere;
    this.#negotiation.draining = options.draining;
    this.#cancelHandshakeTimer = options.clock.after(options.handshakeTimeoutMs, () => {
      this.#log.warn({ connection: options.id }, "the client did not finish its handshake in time");
      this.destroy();
    });
    this.#send();
  }

  /** The export that the client opened. */
  get export(): Export | undefined {
    return this.agreement?.export;
  }

  /** What the option phase came to. */
  get agreement(): Agreement | undefined {
    return this.#negotiation.agreement;
  }

  /** In the command phase, with nothing begun, nothing waiting and nothing unsent: others may serve requests now. */
  get idle(): boolean {
    if (this.#transmission === undefined || this.#transmission.busy || this.#state !== "open") return false;
    return !this.#turnPending && !this.#blocked && !this.#resting && this.#queue.lengthBytes === 0;
  }

  get throttle(): Throttle | undefined {
    return this.#throttle;
  }

  /** It keeps its client waiting on purpose. */
  get resting(): boolean {
    return this.#resting;
  }

  get isOpen(): boolean {
    return this.#state === "open";
  }

  /** Requests taken so far. */
  get requests(): number {
    return this.#transmission?.requests ?? 0;
  }

  /** Bytes came. The chunk belongs to the session from now on. */
  receive(chunk: Buffer): void {
    if (this.#state !== "open") return;
    this.bytesReceived += chunk.length;
    this.#queue.push(chunk);
    this.#run();
  }

  /** The client sends no more. What it asked for is still answered. */
  receiveEnd(): void {
    this.#inputEnded = true;
    this.#run();
  }

  /** The transport has room again. */
  writable(): void {
    this.#blocked = false;
    this.#run();
  }

  /** The connection is gone. */
  closed(): void {
    this.#state = "closed";
    this.#stopResting();
    this.#stopWaiting();
    this.#tellGone();
  }

  /** Refuses everything new from now on. Resolves when the request in progress has been answered. */
  drain(): Promise<void> {
    this.#phase.draining = true;
    this.#throttle?.lift();
    this.#stopResting();
    if (this.#state !== "open") return Promise.resolve();
    return new Promise((resolve) => {
      this.#quietWaiters.push(resolve);
      this.#run();
    });
  }

  /** Says goodbye to the client, after what was written. */
  end(): void {
    if (this.#state !== "open") return;
    this.#state = "ended";
    this.#stopWaiting();
    this.#transport.end();
  }

  /** Cuts the connection. */
  destroy(): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#stopWaiting();
    this.#transport.destroy();
  }

  get #phase(): Phase {
    return this.#transmission ?? this.#negotiation;
  }

  #stopWaiting(): void {
    this.#cancelHandshakeTimer();
    this.#tellQuiet();
  }

  #tellQuiet(): void {
    const waiters = this.#quietWaiters;
    this.#quietWaiters = [];
    for (const resolve of waiters) resolve();
  }

  /** Takes a turn unless there is a reason to wait, and lets the client send as long as its bytes find room. */
  #run(): void {
    if (this.#state === "open" && !this.#turnPending && !this.#blocked && !this.#resting) this.#guardedTurn();
    if (this.#state !== "open") return;
    const isLate = (this.#turnPending || this.#blocked) && this.#queue.lengthBytes >= maxWaitingBytes;
    const wait = isLate || this.#resting;
    if (wait === this.#paused) return;
    this.#paused = wait;
    if (wait) this.#transport.pause();
    else this.#transport.resume();
  }

  /** A defect of ours costs one client its connection, and nobody else anything. */
  #guardedTurn(): void {
    try {
      this.#turn();
      this.#rest();
    } catch (cause) {
      this.#log.error({ connection: this.#id, err: cause }, "a connection failed for a reason inside the server");
      this.destroy();
    }
  }

  #turn(): void {
    let costBytes = 0;
    const mostBytes = this.#throttle === undefined ? turnBytes : throttledTurnBytes;
    while (costBytes < mostBytes && !this.#resting) {
      const step = this.#phase.step(this.#queue, this.#out);
      costBytes += this.#phase.costBytes;
      if (step === "end" || step === "violation") {
        if (step === "violation") this.#log.warn({ connection: this.#id }, "the client broke the protocol");
        this.#send();
        this.end();
        return;
      }
      if (step === "tls") {
        this.#send();
        this.#transport.startTls();
        return;
      }
      if (step === "elsewhere") {
        this.#goElsewhere();
        return;
      }
      if (this.#out.collectedBytes >= maxUnsentBytes && !this.#send()) return;
      if (step === "starved") {
        this.#starve();
        return;
      }
      this.#openExport();
    }
    this.#send();
    if (this.#resting) return;
    this.#turnPending = true;
    this.#clock.soon(() => {
      this.#turnPending = false;
      this.#run();
    });
  }

  #goElsewhere(): void {
    this.#send();
    this.#state = "closed";
    this.#stopWaiting();
    const rest = this.#queue.take(this.#queue.lengthBytes);
    const { haggled, unanswered } = this.#negotiation;
    this.#onElsewhere?.({ haggled, bytes: Buffer.concat([unanswered, rest]) });
    this.#tellGone();
  }

  /** Who has taken more than limits allow pays by waiting. */
  #rest(): void {
    const restMs = this.#throttle?.settle() ?? 0;
    if (restMs === 0 || this.#resting || this.#state !== "open") return;
    this.#resting = true;
    this.#cancelRest = this.#clock.after(restMs, () => {
      this.#resting = false;
      this.#run();
    });
  }

  #stopResting(): void {
    this.#resting = false;
    this.#cancelRest();
  }

  /** Nothing can be done before more bytes come. */
  #starve(): void {
    this.#send();
    if (!this.#phase.busy) this.#tellQuiet();
    if (this.#inputEnded) this.end();
  }

  /** Goes over to the command phase once the client has chosen. */
  #openExport(): void {
    const { agreement } = this.#negotiation;
    if (agreement === undefined || this.#transmission !== undefined) return;
    this.#cancelHandshakeTimer();
    this.#transmission = new Transmission(agreement, this.#log);
    this.#transmission.draining = this.#negotiation.draining;
    this.#throttle = this.#visit?.throttle(agreement.export, this.#meter);
    // Else who connects again and again would have the first turn for nothing each time.
    this.#rest();
    this.#onOpen?.(agreement.export);
    this.#log.debug({ connection: this.#id, export: agreement.export.name }, "a client opened an export");
  }

  /** Sends what was collected. False when the transport has enough. */
  #send(): boolean {
    if (this.#out.collectedBytes > 0) {
      this.bytesSent += this.#out.collectedBytes;
      this.#blocked = !this.#transport.write(this.#out.takeAll());
    }
    return !this.#blocked;
  }
}
