import type { Socket } from "node:net";
import { keepAliveMs, lingerMs, maxUnsentBytes, maxUnsentWrites } from "./limits.ts";
import type { Session } from "./session.ts";
import type { Transport } from "./transport.ts";

/** Carries a session over a stream socket of `node:net`, a Unix one or TCP. */
export class SocketTransport implements Transport {
  readonly #socket: Socket;
  #unsentWrites = 0;
  /** The session waits for `writable`. */
  #full = false;
  #session: Session | undefined;
  #lingerTimer: NodeJS.Timeout | undefined;

  constructor(socket: Socket) {
    this.#socket = socket;
    // Both do nothing on a Unix socket. Replies are corked by the session, so Nagle's delay would only cost.
    socket.setNoDelay(true);
    socket.setKeepAlive(true, keepAliveMs);
  }

  /** Starts to deliver what the peer sends. */
  attach(session: Session, idleTimeoutMs: number): void {
    const socket = this.#socket;
    this.#session = session;
    socket.on("data", (chunk: Buffer) => session.receive(chunk));
    socket.on("end", () => session.receiveEnd());
    // A peer that vanishes is an ordinary event: `close` follows every error and says all there is to do.
    socket.on("error", () => {});
    socket.on("close", () => {
      clearTimeout(this.#lingerTimer);
      session.closed();
    });
    if (idleTimeoutMs > 0) socket.setTimeout(idleTimeoutMs, () => session.destroy());
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
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  /** Closing a socket with unread bytes resets it, which may overtake our last replies: so it is read for a while. */
  end(): void {
    this.#socket.resume();
    this.#socket.end(() => {
      if (!this.#socket.destroyed) this.#lingerTimer = setTimeout(() => this.#socket.destroy(), lingerMs);
    });
  }

  destroy(): void {
    this.#socket.destroy();
  }
}
