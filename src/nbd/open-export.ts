import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { type ErrorCode, isPerdureError, PerdureError } from "../base/index.ts";
import { Inbox } from "./inbox.ts";
import { keepAliveMs, maxOptionBytes, openTimeoutMs } from "./limits.ts";
import { HANDSHAKE, HELLO_MAGIC, INFO, OPTION, OPTION_REPLY_MAGIC, REPLY } from "./protocol.ts";
import type { RemoteExport } from "./uri.ts";
import { EXPORT_INFO, encodeInfoQuery, encodeOptionHeader, OPTION_REPLY } from "./wire.ts";

/** What a server says of an export when it is opened. */
export interface ExportTerms {
  readonly sizeBytes: number;
  /** Transmission flags. */
  readonly flags: number;
  /** Empty where the server has none. */
  readonly description: string;
}

/** A connection in the command phase, with simple replies. */
export interface OpenedExport {
  readonly socket: Socket;
  /** Holds what the server has sent beyond the handshake. */
  readonly inbox: Inbox;
  readonly terms: ExportTerms;
}

/**
 * Opens an export as a client.
 *
 * @throws ENOENT when nobody listens or no export has the name, EACCES when the server wants TLS or does not let this
 * user in, EIO for everything else: all of them may be over a moment later
 */
export async function openExport(place: RemoteExport): Promise<OpenedExport> {
  const { address } = place;
  const socket = connect(address.kind === "unix" ? { path: address.path } : { ...address });
  socket.setNoDelay(true);
  socket.setKeepAlive(true, keepAliveMs);
  const deadline = setTimeout(() => socket.destroy(new Error("the server does not answer")), openTimeoutMs);
  try {
    await once(socket, "connect");
    // Every error is followed by `close`, which says all there is to do.
    socket.on("error", () => {});
    const inbox = new Inbox(socket);
    const terms = await haggle(socket, inbox, place.name);
    return { socket, inbox, terms };
  } catch (cause) {
    socket.destroy();
    throw openError(cause, place);
  } finally {
    clearTimeout(deadline);
  }
}

async function haggle(socket: Socket, inbox: Inbox, name: string): Promise<ExportTerms> {
  const hello = await inbox.read(HELLO_MAGIC.length + 2);
  const offered = hello.readUInt16BE(HELLO_MAGIC.length);
  if (hello.toString("latin1", 0, HELLO_MAGIC.length) !== HELLO_MAGIC || (offered & HANDSHAKE.FIXED_NEWSTYLE) === 0) {
    throw new Error("what listens there is no NBD server of this century");
  }
  const data = encodeInfoQuery(name, [INFO.DESCRIPTION]);
  const flags = Buffer.from([0, 0, 0, offered & (HANDSHAKE.FIXED_NEWSTYLE | HANDSHAKE.NO_ZEROES)]);
  socket.write(Buffer.concat([flags, encodeOptionHeader(OPTION.GO, data.length), data]));
  let terms: ExportTerms = { sizeBytes: -1, flags: 0, description: "" };
  for (;;) {
    const reply = await readReply(inbox);
    if (reply.type === REPLY.ACK && terms.sizeBytes >= 0) return terms;
    if (reply.type !== REPLY.INFO || reply.data.length < 2) throw refusal(reply.type, name);
    const type = reply.data.readUInt16BE(0);
    if (type === INFO.DESCRIPTION) terms = { ...terms, description: reply.data.toString("utf8", 2) };
    if (type !== INFO.EXPORT || reply.data.length !== EXPORT_INFO.sizeBytes) continue;
    const sizeBytes =
      reply.data.readUInt32BE(EXPORT_INFO.sizeHigh) * 2 ** 32 + reply.data.readUInt32BE(EXPORT_INFO.sizeLow);
    terms = { ...terms, sizeBytes, flags: reply.data.readUInt16BE(EXPORT_INFO.flags) };
  }
}

async function readReply(inbox: Inbox): Promise<{ type: number; data: Buffer }> {
  const header = await inbox.read(OPTION_REPLY.sizeBytes);
  const genuine =
    header.readUInt32BE(OPTION_REPLY.magicHigh) === OPTION_REPLY_MAGIC.high &&
    header.readUInt32BE(OPTION_REPLY.magicLow) === OPTION_REPLY_MAGIC.low &&
    header.readUInt32BE(OPTION_REPLY.option) === OPTION.GO;
  const lengthBytes = header.readUInt32BE(OPTION_REPLY.length);
  if (!genuine || lengthBytes > maxOptionBytes) throw new Error("the server broke the protocol");
  return { type: header.readUInt32BE(OPTION_REPLY.type), data: await inbox.read(lengthBytes) };
}

function refusal(type: number, name: string): PerdureError {
  if (type === REPLY.ERR_UNKNOWN) {
    return new PerdureError("ENOENT", name === "" ? "the server has several disks" : `no disk is named "${name}"`, {
      remedy: "name one of those that `nbdinfo --list URI` shows",
    });
  }
  if (type === REPLY.ERR_TLS_REQD) {
    return new PerdureError("EACCES", "the server wants TLS, which is not spoken here", {
      remedy: "use its Unix socket, or let the server offer TLS without requiring it",
    });
  }
  return new PerdureError("EIO", `the server refused with reply type 0x${type.toString(16)}`);
}

const CODES: Readonly<Record<string, ErrorCode>> = {
  ENOENT: "ENOENT",
  ECONNREFUSED: "ENOENT",
  ENOTDIR: "ENOENT",
  EACCES: "EACCES",
};

function openError(cause: unknown, { address }: RemoteExport): PerdureError {
  if (isPerdureError(cause)) return cause;
  const { code = "", message } = cause as NodeJS.ErrnoException;
  const where = address.kind === "unix" ? address.path : `${address.host}:${address.port}`;
  const known = CODES[code];
  const text = known === "ENOENT" ? `no server listens on ${where}` : `${where}: ${message}`;
  return new PerdureError(known ?? "EIO", text, {
    remedy: "start the server (perdure serve), or name the socket or URI on which it listens",
    cause,
  });
}
