import type { ByteQueue } from "./byte-queue.ts";
import type { ReplyWriter } from "./reply-writer.ts";

/**
 * What a step came to: `more` can be done at once, it is `starved` until bytes arrive, everything behind what was
 * answered is `tls`, the conversation has come to its `end`, or goes on `elsewhere`, or the peer broke the protocol and
 * is cut off (`violation`).
 */
export type Step = "more" | "starved" | "tls" | "end" | "elsewhere" | "violation";

/** One part of a conversation: bytes in, frames out, no sockets. The option phase and the command phase are such. */
export interface Phase {
  /** Goes on by one small piece of work. */
  step(queue: ByteQueue, out: ReplyWriter): Step;
  /** What the last step cost, in bytes moved. */
  readonly costBytes: number;
  /** A request was begun and not answered. */
  readonly busy: boolean;
  /** The server is about to stop: everything new is refused. */
  draining: boolean;
}
