import type { BlockDevice } from "../device/index.ts";
import { maxPayloadBytes } from "./limits.ts";
import type { Agreement } from "./negotiation.ts";
import {
  ALLOCATION_CONTEXT_ID,
  COMMAND,
  COMMAND_FLAG,
  EXTENDED_REQUEST_MAGIC,
  NBD_ERROR,
  REQUEST_MAGIC,
} from "./protocol.ts";
import { type Echo, EXTENDED_REQUEST, REQUEST, STATUS_FILTER } from "./wire.ts";

/** What a command may carry and how it fails. */
interface CommandRule {
  /** Flags that it may carry. FUA is tolerated on all of them, since it is offered. */
  readonly flags: number;
  /** It changes the device. */
  readonly changes: boolean;
  /** The error for a range that leaves the device. */
  readonly pastEnd: number;
}

function ruleOf(flags: number, changes: boolean, pastEnd: number): CommandRule {
  return { flags: flags | COMMAND_FLAG.FUA, changes, pastEnd };
}

const RULES: ReadonlyMap<number, CommandRule> = new Map([
  [COMMAND.READ, ruleOf(COMMAND_FLAG.DF, false, NBD_ERROR.EINVAL)],
  [COMMAND.WRITE, ruleOf(0, true, NBD_ERROR.ENOSPC)],
  [COMMAND.FLUSH, ruleOf(0, false, NBD_ERROR.EINVAL)],
  [COMMAND.TRIM, ruleOf(0, true, NBD_ERROR.EINVAL)],
  [COMMAND.CACHE, ruleOf(0, false, NBD_ERROR.EINVAL)],
  [COMMAND.WRITE_ZEROES, ruleOf(COMMAND_FLAG.NO_HOLE | COMMAND_FLAG.FAST_ZERO, true, NBD_ERROR.ENOSPC)],
  [COMMAND.BLOCK_STATUS, ruleOf(COMMAND_FLAG.REQ_ONE, false, NBD_ERROR.EINVAL)],
]);

/** A request as it came. One object serves a whole connection: a new one for each request would be garbage. */
export class Request implements Echo {
  /** Whether headers are extended; it stays the same for the whole connection. */
  readonly extended: boolean;
  flags = 0;
  type = 0;
  cookieHigh = 0;
  cookieLow = 0;
  offsetHigh = 0;
  offsetLow = 0;
  /** Exact below 2^53; above, it is rounded but still beyond the end of every device. The same holds for lengths. */
  offset = 0;
  /** How much of the export the request is about. */
  lengthBytes = 0;
  /** Bytes that follow the header. */
  payloadBytes = 0;

  constructor(extended: boolean) {
    this.extended = extended;
  }

  get headerBytes(): number {
    return this.extended ? EXTENDED_REQUEST.sizeBytes : REQUEST.sizeBytes;
  }

  /** Reads a request that starts at byte `at`; false when it does not have the form that was agreed on. */
  decode(bytes: Buffer, at = 0): boolean {
    // Both forms have the same fields in the same places, up to the length.
    this.flags = bytes.readUInt16BE(at + REQUEST.flags);
    this.type = bytes.readUInt16BE(at + REQUEST.type);
    this.cookieHigh = bytes.readUInt32BE(at + REQUEST.cookieHigh);
    this.cookieLow = bytes.readUInt32BE(at + REQUEST.cookieLow);
    this.offsetHigh = bytes.readUInt32BE(at + REQUEST.offsetHigh);
    this.offsetLow = bytes.readUInt32BE(at + REQUEST.offsetLow);
    this.offset = this.offsetHigh * 2 ** 32 + this.offsetLow;
    const magic = bytes.readUInt32BE(at + REQUEST.magic);
    const writes = this.type === COMMAND.WRITE;
    this.lengthBytes = this.extended
      ? bytes.readUInt32BE(at + EXTENDED_REQUEST.lengthHigh) * 2 ** 32 +
        bytes.readUInt32BE(at + EXTENDED_REQUEST.lengthLow)
      : bytes.readUInt32BE(at + REQUEST.length);
    const announced = this.extended && this.has(COMMAND_FLAG.PAYLOAD_LEN);
    this.payloadBytes = writes || announced ? this.lengthBytes : 0;
    // A WRITE has a payload whether it says so, as it must with extended headers, or not, as that of qemu.
    if (writes && this.extended) this.flags &= ~COMMAND_FLAG.PAYLOAD_LEN;
    return magic === (this.extended ? EXTENDED_REQUEST_MAGIC : REQUEST_MAGIC);
  }

  /** True when the payload may name the contexts that a BLOCK_STATUS asks about; there is one context to name. */
  get isFiltered(): boolean {
    return (
      this.type === COMMAND.BLOCK_STATUS &&
      (this.payloadBytes === STATUS_FILTER.ids || this.payloadBytes === STATUS_FILTER.ids + STATUS_FILTER.idBytes)
    );
  }

  /** Takes the real length from the payload of a filtered BLOCK_STATUS; false when it names an unknown context. */
  applyFilter(payload: Buffer): boolean {
    this.flags &= ~COMMAND_FLAG.PAYLOAD_LEN;
    this.lengthBytes =
      payload.readUInt32BE(STATUS_FILTER.lengthHigh) * 2 ** 32 + payload.readUInt32BE(STATUS_FILTER.lengthLow);
    return payload.length === STATUS_FILTER.ids || payload.readUInt32BE(STATUS_FILTER.ids) === ALLOCATION_CONTEXT_ID;
  }

  /** A header of the same WRITE for the last part of its range. */
  encodeRest(offset: number, lengthBytes: number): Buffer {
    const header = Buffer.alloc(this.headerBytes);
    header.writeUInt32BE(this.extended ? EXTENDED_REQUEST_MAGIC : REQUEST_MAGIC, REQUEST.magic);
    header.writeUInt16BE(this.flags, REQUEST.flags);
    header.writeUInt16BE(this.type, REQUEST.type);
    header.writeUInt32BE(this.cookieHigh, REQUEST.cookieHigh);
    header.writeUInt32BE(this.cookieLow, REQUEST.cookieLow);
    header.writeUInt32BE(Math.floor(offset / 2 ** 32), REQUEST.offsetHigh);
    header.writeUInt32BE(offset % 2 ** 32, REQUEST.offsetLow);
    // A payload has less than 2^32 bytes.
    header.writeUInt32BE(lengthBytes, this.extended ? EXTENDED_REQUEST.lengthLow : REQUEST.length);
    return header;
  }

  has(flag: number): boolean {
    return (this.flags & flag) !== 0;
  }
}

/** The error that a request earns before anything is done for it, or NONE. */
export function requestError(request: Request, device: BlockDevice, agreement: Agreement): number {
  const rule = RULES.get(request.type);
  if (rule === undefined || (request.flags & ~rule.flags) !== 0) return NBD_ERROR.EINVAL;
  if (rule.changes && device.readOnly) return NBD_ERROR.EPERM;
  // Subtracting is exact where a sum might pass 2^53; behind the end, what is left is less than nothing.
  if (request.lengthBytes > device.sizeBytes - request.offset) return rule.pastEnd;
  switch (request.type) {
    case COMMAND.READ:
      return readError(request, agreement);
    case COMMAND.FLUSH:
      return request.offset === 0 && request.lengthBytes === 0 ? NBD_ERROR.NONE : NBD_ERROR.EINVAL;
    case COMMAND.WRITE_ZEROES:
      // Reserving pages and zeroing them is as slow as writing, so it is never fast.
      return request.has(COMMAND_FLAG.NO_HOLE) && request.has(COMMAND_FLAG.FAST_ZERO)
        ? NBD_ERROR.ENOTSUP
        : NBD_ERROR.NONE;
    case COMMAND.BLOCK_STATUS:
      // A status reply holds at least one extent, and an extent at least one byte.
      return agreement.allocationContext && request.lengthBytes > 0 ? NBD_ERROR.NONE : NBD_ERROR.EINVAL;
    default:
      return NBD_ERROR.NONE;
  }
}

function readError(request: Request, agreement: Agreement): number {
  const whole = request.has(COMMAND_FLAG.DF);
  if (whole && !agreement.structured) return NBD_ERROR.EINVAL;
  if (request.lengthBytes <= maxPayloadBytes) return NBD_ERROR.NONE;
  return whole ? NBD_ERROR.EOVERFLOW : NBD_ERROR.EINVAL;
}
