import type { BlockDevice } from "../device/index.ts";
import { maxPayloadBytes } from "./limits.ts";
import type { Agreement } from "./negotiation.ts";
import { COMMAND, COMMAND_FLAG, NBD_ERROR, REQUEST_MAGIC } from "./protocol.ts";
import { REQUEST } from "./wire.ts";

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
export class Request {
  flags = 0;
  type = 0;
  cookieHigh = 0;
  cookieLow = 0;
  /** Exact below 2^53; above, it is rounded but still beyond the end of every device. */
  offset = 0;
  lengthBytes = 0;

  /** Reads a request; false when it does not start with the magic number. */
  decode(header: Buffer): boolean {
    this.flags = header.readUInt16BE(REQUEST.flags);
    this.type = header.readUInt16BE(REQUEST.type);
    this.cookieHigh = header.readUInt32BE(REQUEST.cookieHigh);
    this.cookieLow = header.readUInt32BE(REQUEST.cookieLow);
    this.offset = header.readUInt32BE(REQUEST.offsetHigh) * 2 ** 32 + header.readUInt32BE(REQUEST.offsetLow);
    this.lengthBytes = header.readUInt32BE(REQUEST.length);
    return header.readUInt32BE(REQUEST.magic) === REQUEST_MAGIC;
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
