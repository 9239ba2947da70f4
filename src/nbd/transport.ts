/**
 * What carries the bytes of a connection. It calls `receive`, `receiveEnd`, `writable` and `closed` of its session,
 * never from inside of one of the calls below.
 */
export interface Transport {
  /** Sends buffers in order. They belong to the transport from now on. False: wait for `writable` before the next. */
  write(buffers: readonly Buffer[]): boolean;
  /** Stops and restarts the calls of `receive`; a few may still come after `pause`. */
  pause(): void;
  resume(): void;
  /**
   * Goes over to TLS: what was written goes out as it is, everything after it in both directions is encrypted. A
   * handshake that fails closes the connection.
   */
  startTls(): void;
  /** Sends what was written, then says goodbye. What the peer still sends is not received any more. */
  end(): void;
  /** Cuts the connection at once. */
  destroy(): void;
}
