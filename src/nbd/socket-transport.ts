import type { Socket } from "node:net";
import { assert } from "../base/index.ts";
import { keepAliveMs, lingerMs, maxUnsentBytes, maxUnsentWrites } from "./limits.ts";
import type { Session } from "./session.ts";
import type { TlsServer } from "./tls-server.ts";
import type { Transport } from "./transport.ts";

/** Carries a session over a stream socket of `node:net`, a Unix one or TCP. */
export class SocketTransport implements Transport {
  /** What is written to and read from: the connection, or TLS over it. */
  #socket: Socket;
  readonly #connection: Socket;
  readonly #tls: TlsServer | undefined;
  /** A TLS handshake is under way; nothing is for the session meanwhile. */
  #securing = false;
  #abandonTls: () => void = () => {};
  #idleTimeoutMs = 0;
  #unsentWrites = 0;
  /** The session waits for `writable`. */
  #full = false;
  #session: Session | undefined;
  #lingerTimer: NodeJS.Timeout | undefined;

  /** @param tls needed by sessions that offer TLS */
  constructor(socket: Socket, tls?: TlsServer) {
    this.#socket = socket;
    this.#connection = socket;
    this.#tls = tls;
    // Both do nothing on a Unix socket. Replies are corked by the session, so Nagle's delay would only cost.
    socket.setNoDelay(true);
    socket.setKeepAlive(true, keepAliveMs);
  }

  /** Starts to deliver what the peer sends. */
  attach(session: Session, idleTimeoutMs: number): void {
    this.#session = session;
    this.#idleTimeoutMs = idleTimeoutMs;
    this.#deliver();
    this.#connection.on("close", () => {
      clearTimeout(this.#lingerTimer);
      session.closed();
    });
  }

  readonly #received = (chunk: Buffer): void => this.#session?.receive(chunk);
  readonly #ended = (): void => this.#session?.receiveEnd();
  readonly #idled = (): void => {
    // Who is kept waiting here is not idle.
    if (this.#session?.resting === false) this.#session.destroy();
  };

  /** Delivers what comes over the present socket. */
  #deliver(): void {
    const socket = this.#socket;
    socket.on("data", this.#received);
    socket.on("end", this.#ended);
    // A peer that vanishes is an ordinary event: `close` follows every error and says all there is to do.
    socket.on("error", () => {});
    if (this.#idleTimeoutMs > 0) socket.setTimeout(this.#idleTimeoutMs, this.#idled);
  }

  startTls(): void {
    const connection = this.#connection;
    const tls = this.#tls;
    assert(tls !== undefined, "only a server that has TLS agrees to it");
    this.#securing = true;
    connection.off("data", this.#received);
    connection.off("end", this.#ended);
    connection.setTimeout(0);
    connection.pause();
    // Who hangs up in the handshake waits for nothing; behind it, what was asked for is still answered.
    connection.allowHalfOpen = false;
    // Called when everything that was written before has gone out as it is.
    connection.write("", (error) => {
      if (error || connection.destroyed) return;
      this.#abandonTls = tls.accept(connection, (secured) => {
        secured.allowHalfOpen = true;
        this.#socket = secured;
        this.#securing = false;
        this.#deliver();
      });
    });
  }

  write(buffers: readonly Buffer[]): boolean {
    const socket = this.#socket;
    socket.cork();
    for (const buffer of buffers) {
      this.#unsentWrites++;
      socket.write(buffer, this.#written);
    }
    socket.uncork();
    this.#full = socket.writableLength > maxUnsentBytes || this.#unsentWrites > maxUnsentWrites;
    return !this.#full;
  }

  readonly #written = (error?: Error | null): void => {
    this.#unsentWrites--;
    // After an error the socket is closed, and the session is told so: it is not to work for nobody.
    if (!this.#full || error) return;
    // Half empty is early enough to fill it up again before it runs dry.
    if (this.#socket.writableLength > maxUnsentBytes / 2 || this.#unsentWrites > maxUnsentWrites / 2) return;
    this.#full = false;
    this.#session?.writable();
  };

  pause(): void {
    if (!this.#securing) this.#socket.pause();
  }

  resume(): void {
    if (this.#securing) return;
    this.#socket.resume();
    // A pause may have outlived the timer.
    if (this.#idleTimeoutMs > 0) this.#socket.setTimeout(this.#idleTimeoutMs);
  }

  /** Closing a socket with unread bytes resets it, which may overtake our last replies: so it is read for a while. */
  end(): void {
    // There is nobody yet to whom a goodbye could be said.
    if (this.#securing) return this.destroy();
    this.#socket.resume();
    this.#socket.end(() => {
      if (!this.#connection.destroyed) this.#lingerTimer = setTimeout(() => this.destroy(), lingerMs);
    });
  }

  destroy(): void {
    this.#abandonTls();
    // TLS over it goes with it.
    this.#connection.destroy();
  }
}
