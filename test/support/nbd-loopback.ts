// Drives a session without sockets: chunks go in, the bytes of the answer come out.

import { setImmediate as turn } from "node:timers/promises";
import { eventLoopClock } from "../../src/nbd/clock.ts";
import { ExportTable } from "../../src/nbd/exports.ts";
import { silentLog } from "../../src/nbd/log.ts";
import { Session } from "../../src/nbd/session.ts";
import type { Transport } from "../../src/nbd/transport.ts";
import type { NbdMemoryDevice } from "./nbd-memory-device.ts";

/**
 * Plays a whole conversation with a session that serves `device`.
 * @param chunks What the client sends, in the pieces in which it arrives.
 * @param isSlow Whether the transport claims to be full after every write.
 * @returns All that the server sent before it hung up.
 */
export async function converse(device: NbdMemoryDevice, chunks: readonly Buffer[], isSlow: boolean): Promise<Buffer> {
  const sent: Buffer[] = [];
  let hangUp = (): void => {};
  const hungUp = new Promise<void>((resolve) => {
    hangUp = resolve;
  });
  const transport: Transport = {
    write(buffers) {
      // Copied late, as a socket may: the session must not touch what it gave away.
      sent.push(...buffers);
      if (isSlow) setImmediate(() => session.writable());
      return !isSlow;
    },
    pause() {},
    resume() {},
    startTls: () => hangUp(),
    end: () => hangUp(),
    destroy: () => hangUp(),
  };
  const exports = new ExportTable();
  exports.add({ name: device.name, description: "", device });
  const session = new Session(transport, {
    id: 1,
    exports,
    tls: "off",
    log: silentLog,
    clock: eventLoopClock,
    handshakeTimeoutMs: 10_000,
    draining: false,
  });
  for (const chunk of chunks) {
    session.receive(chunk);
    if (isSlow) await turn();
  }
  session.receiveEnd();
  await hungUp;
  session.closed();
  return Buffer.concat(sent);
}
