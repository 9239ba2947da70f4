import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

type Transfer = (this: ArrayBuffer, newLength?: number) => ArrayBuffer;

/**
 * Finds `ArrayBuffer.prototype.transfer`. Node 22 and later have it; Node 20 has it behind a V8 flag that a fresh
 * context picks up. Nothing else detaches an external buffer: structuredClone copies it or throws.
 */
function findTransfer(): Transfer {
  const own = (ArrayBuffer.prototype as { transfer?: Transfer }).transfer;
  if (own !== undefined) return own;
  setFlagsFromString("--harmony-rab-gsab-transfer");
  return runInNewContext("ArrayBuffer.prototype.transfer") as Transfer;
}

const transfer: Transfer = findTransfer();

/**
 * Detaches a buffer, so that every view of it is empty or throws from now on. Must come before munmap: a view that
 * outlives its mapping ends the process.
 */
export function detach(buffer: ArrayBuffer): void {
  transfer.call(buffer, 0);
}
