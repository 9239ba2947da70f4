import type { Socket } from "node:net";
import type { Inbox } from "./inbox.ts";
import { advertisedPayloadBytes, maxOptionBytes, maxOptions } from "./limits.ts";
import type { ExportTerms } from "./open-export.ts";
import { decodeName, parseInfoQuery } from "./option-data.ts";
import { HANDSHAKE, INFO, OPTION, OPTION_MAGIC, REPLY } from "./protocol.ts";
import { ReplyWriter } from "./reply-writer.ts";
import {
  blockSizeInfo,
  exportInfo,
  OPTION_HEADER,
  pushExportNameAnswer,
  pushHello,
  pushOptionReply,
  serverData,
  textInfo,
} from "./wire.ts";

/** What a relay lets its clients see. */
export interface RelayedExport {
  /** The empty name means it, too. */
  readonly name: string;
  readonly terms: ExportTerms;
}

const CLIENT_FLAGS_BYTES = 4;
/** The block of nearly every file system, and the page of regions unless they were formatted otherwise. */
const preferredBytes = 4096;

/**
 * The option phase with a client of a relay. Only simple replies are agreed to, which a relay can tell apart without
 * knowing what they answer.
 *
 * @returns whether the client opened the export
 */
export async function welcome(socket: Socket, inbox: Inbox, served: RelayedExport): Promise<boolean> {
  const out = new ReplyWriter();
  const send = (): void => {
    for (const buffer of out.takeAll()) socket.write(buffer);
  };
  pushHello(out);
  send();
  const flags = (await inbox.read(CLIENT_FLAGS_BYTES)).readUInt32BE(0);
  const noZeroes = (flags & HANDSHAKE.NO_ZEROES) !== 0;
  for (let k = 0; k < maxOptions; k++) {
    const header = await inbox.read(OPTION_HEADER.sizeBytes);
    const genuine =
      header.readUInt32BE(OPTION_HEADER.magicHigh) === OPTION_MAGIC.high &&
      header.readUInt32BE(OPTION_HEADER.magicLow) === OPTION_MAGIC.low;
    const option = header.readUInt32BE(OPTION_HEADER.option);
    const lengthBytes = header.readUInt32BE(OPTION_HEADER.length);
    if (!genuine || lengthBytes > maxOptionBytes) return false;
    const data = await inbox.read(lengthBytes);
    if (option === OPTION.EXPORT_NAME) {
      if (!isMeant(data, served)) return false;
      pushExportNameAnswer(out, served.terms.sizeBytes, served.terms.flags, noZeroes);
      send();
      return true;
    }
    const reply = answer(option, data, served, out);
    pushOptionReply(out, option, reply);
    send();
    if (option === OPTION.ABORT) return false;
    if (option === OPTION.GO && reply === REPLY.ACK) return true;
  }
  return false;
}

/** Pushes what comes before the last reply to an option. @returns the type of the last one */
function answer(option: number, data: Buffer, { name, terms }: RelayedExport, out: ReplyWriter): number {
  switch (option) {
    case OPTION.ABORT:
      return REPLY.ACK;
    case OPTION.LIST:
      if (data.length > 0) return REPLY.ERR_INVALID;
      pushOptionReply(out, option, REPLY.SERVER, serverData(name, terms.description));
      return REPLY.ACK;
    case OPTION.INFO:
    case OPTION.GO: {
      const query = parseInfoQuery(data);
      if (query === undefined) return REPLY.ERR_INVALID;
      if (!isMeant(query.name, { name, terms })) return REPLY.ERR_UNKNOWN;
      const tell = (info: Buffer): void => pushOptionReply(out, option, REPLY.INFO, info);
      tell(exportInfo(terms.sizeBytes, terms.flags));
      if (query.infoTypes.has(INFO.NAME)) tell(textInfo(INFO.NAME, name));
      if (query.infoTypes.has(INFO.DESCRIPTION)) tell(textInfo(INFO.DESCRIPTION, terms.description));
      if (query.infoTypes.has(INFO.BLOCK_SIZE)) tell(blockSizeInfo(1, preferredBytes, advertisedPayloadBytes));
      return REPLY.ACK;
    }
    default:
      return REPLY.ERR_UNSUP;
  }
}

function isMeant(wanted: Buffer, { name }: RelayedExport): boolean {
  return wanted.length === 0 || decodeName(wanted) === name;
}
