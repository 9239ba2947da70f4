import type { Visit } from "./admission.ts";
import type { ByteQueue } from "./byte-queue.ts";
import { type Export, type ExportTable, exportFlags } from "./exports.ts";
import {
  advertisedPayloadBytes,
  maxOptionBytes,
  maxOptions,
  maxOptionsPerListedExport,
  maxSkippedOptionBytes,
  maxStringBytes,
  requestCostBytes,
} from "./limits.ts";
import { decodeName, parseInfoQuery, parseMetaContextQuery } from "./option-data.ts";
import type { Phase, Step } from "./phase.ts";
import { ALLOCATION_CONTEXT, ALLOCATION_CONTEXT_ID, HANDSHAKE, INFO, OPTION, OPTION_MAGIC, REPLY } from "./protocol.ts";
import type { ReplyWriter } from "./reply-writer.ts";
import type { TlsMode } from "./tls-options.ts";
import {
  blockSizeInfo,
  encodeOptionHeader,
  exportInfo,
  metaContextData,
  OPTION_HEADER,
  pushExportNameAnswer,
  pushHello,
  pushOptionReply,
  serverData,
  textInfo,
} from "./wire.ts";

/** What client and server agreed on. */
export interface Agreement {
  readonly export: Export;
  /** READ is answered in chunks. */
  readonly structured: boolean;
  /** Requests and replies have extended headers, which implies `structured`. */
  readonly extended: boolean;
  /** BLOCK_STATUS tells of `base:allocation`. */
  readonly allocationContext: boolean;
}

/** Where an option phase stands that goes on in another thread. */
export interface Haggled {
  readonly fixedNewstyle: boolean;
  readonly noZeroes: boolean;
  readonly structured: boolean;
  readonly extended: boolean;
  readonly optionsLeft: number;
  readonly contextFor: string | undefined;
}

/** A conversation on its way to another thread: what was agreed, and the bytes that were not looked at. */
export interface HandOver {
  readonly haggled: Haggled;
  readonly bytes: Uint8Array;
  /** Replies that the client did not take yet. */
  readonly unsent: Uint8Array;
}

export interface NegotiationOptions {
  readonly tls: TlsMode;
  /** It goes on where another thread has stopped, with the option that was not answered there. */
  readonly haggled?: Haggled | undefined;
  /** Without one there is no TLS: who wants it goes elsewhere. */
  readonly hasEventLoop?: boolean;
  /** Decides which exports the client may open; without it, all. */
  readonly visit?: Visit | undefined;
}

const CLIENT_FLAGS_BYTES = 4;
const KNOWN_CLIENT_FLAGS = HANDSHAKE.FIXED_NEWSTYLE | HANDSHAKE.NO_ZEROES;
/** The options whose data mean something; those of the others are read past. */
const OPTIONS_WITH_DATA: ReadonlySet<number> = new Set([
  OPTION.EXPORT_NAME,
  OPTION.INFO,
  OPTION.GO,
  OPTION.LIST_META_CONTEXT,
  OPTION.SET_META_CONTEXT,
]);

/**
 * The option phase ("haggling"): fixed newstyle.
 *
 *     flags -> header -> data --+
 *                ^  \            |
 *                |   -> skip --> answer -> agreement, end or violation
 *                +---------------+
 */
export class Negotiation implements Phase {
  readonly costBytes: number = requestCostBytes;
  readonly busy = false;
  draining = false;
  /** Set when the option phase is over. */
  agreement: Agreement | undefined;

  readonly #exports: ExportTable;
  readonly #tls: TlsMode;
  readonly #hasEventLoop: boolean;
  readonly #visit: Visit | undefined;
  /** The bytes that come are those of TLS. */
  #encrypted = false;
  #awaits: "flags" | "header" | "data" | "skip" = "flags";
  #fixedNewstyle = false;
  #noZeroes = false;
  #option = 0;
  #dataBytes = 0;
  #skippedBytes = 0;
  #unansweredData: Buffer = Buffer.alloc(0);
  #optionsLeft = maxOptions;
  #listed = false;
  #structured = false;
  #extended = false;
  /** The export name for which `base:allocation` was selected. */
  #contextFor: string | undefined;

  constructor(
    exports: ExportTable,
    out: ReplyWriter,
    { tls, haggled, hasEventLoop = true, visit }: NegotiationOptions,
  ) {
    this.#exports = exports;
    this.#tls = tls;
    this.#hasEventLoop = hasEventLoop;
    this.#visit = visit;
    if (haggled === undefined) {
      pushHello(out);
      return;
    }
    this.#awaits = "header";
    this.#fixedNewstyle = haggled.fixedNewstyle;
    this.#noZeroes = haggled.noZeroes;
    this.#structured = haggled.structured;
    this.#extended = haggled.extended;
    this.#optionsLeft = haggled.optionsLeft;
    this.#contextFor = haggled.contextFor;
  }

  /** After a step that came to `elsewhere`. */
  get haggled(): Haggled {
    return {
      fixedNewstyle: this.#fixedNewstyle,
      noZeroes: this.#noZeroes,
      structured: this.#structured,
      extended: this.#extended,
      optionsLeft: this.#optionsLeft,
      contextFor: this.#contextFor,
    };
  }

  /** The option that is not answered here, as it came. */
  get unanswered(): Buffer {
    return Buffer.concat([encodeOptionHeader(this.#option, this.#unansweredData.length), this.#unansweredData]);
  }

  step(queue: ByteQueue, out: ReplyWriter): Step {
    switch (this.#awaits) {
      case "flags":
        return queue.lengthBytes < CLIENT_FLAGS_BYTES ? "starved" : this.#readFlags(queue.take(CLIENT_FLAGS_BYTES));
      case "header":
        return queue.lengthBytes < OPTION_HEADER.sizeBytes
          ? "starved"
          : this.#readHeader(queue.take(OPTION_HEADER.sizeBytes));
      case "data":
        if (queue.lengthBytes < this.#dataBytes) return "starved";
        this.#awaits = "header";
        return this.#answer(queue.take(this.#dataBytes), out);
      case "skip":
        this.#skippedBytes += queue.drop(this.#dataBytes - this.#skippedBytes);
        if (this.#skippedBytes < this.#dataBytes) return "starved";
        this.#awaits = "header";
        return this.#answerSkipped(out, queue);
    }
  }

  #readFlags(word: Buffer): Step {
    const flags = word.readUInt32BE(0);
    if ((flags & ~KNOWN_CLIENT_FLAGS) !== 0) return "violation";
    this.#fixedNewstyle = (flags & HANDSHAKE.FIXED_NEWSTYLE) !== 0;
    this.#noZeroes = (flags & HANDSHAKE.NO_ZEROES) !== 0;
    this.#awaits = "header";
    return "more";
  }

  #readHeader(header: Buffer): Step {
    const genuine =
      header.readUInt32BE(OPTION_HEADER.magicHigh) === OPTION_MAGIC.high &&
      header.readUInt32BE(OPTION_HEADER.magicLow) === OPTION_MAGIC.low;
    this.#option = header.readUInt32BE(OPTION_HEADER.option);
    this.#dataBytes = header.readUInt32BE(OPTION_HEADER.length);
    if (!genuine || this.#dataBytes > maxSkippedOptionBytes || this.#optionsLeft-- === 0) return "violation";
    // EXPORT_NAME has no error reply: all that can be done about a bad one is to hang up.
    if (this.#option === OPTION.EXPORT_NAME && this.#dataBytes > maxStringBytes) return "violation";
    const held = OPTIONS_WITH_DATA.has(this.#option) && this.#dataBytes <= maxOptionBytes;
    this.#skippedBytes = 0;
    this.#awaits = held ? "data" : "skip";
    return "more";
  }

  #reply(out: ReplyWriter, type: number, data?: Buffer): Step {
    pushOptionReply(out, this.#option, type, data);
    return "more";
  }

  /** Answers an option whose data were read past: those that take none, unknown ones, and those that are too big. */
  #answerSkipped(out: ReplyWriter, queue: ByteQueue): Step {
    if (this.#option === OPTION.ABORT) {
      this.#reply(out, REPLY.ACK);
      return "end";
    }
    if (!this.#fixedNewstyle) return this.#reply(out, REPLY.ERR_INVALID);
    if (this.draining) return this.#reply(out, REPLY.ERR_SHUTDOWN);
    if (this.#option === OPTION.STARTTLS) return this.#startTls(out, queue);
    if (this.#locked) return this.#reply(out, REPLY.ERR_TLS_REQD);
    if (OPTIONS_WITH_DATA.has(this.#option)) return this.#reply(out, REPLY.ERR_TOO_BIG);
    switch (this.#option) {
      case OPTION.LIST:
        if (this.#dataBytes > 0) return this.#reply(out, REPLY.ERR_INVALID);
        return this.#exports.elsewhere.size > 0 ? this.#goElsewhere(Buffer.alloc(0)) : this.#list(out);
      case OPTION.STRUCTURED_REPLY:
        if (this.#dataBytes > 0) return this.#reply(out, REPLY.ERR_INVALID);
        // Extended headers cannot be taken back.
        if (this.#extended) return this.#reply(out, REPLY.ERR_EXT_HEADER_REQD);
        this.#structured = true;
        return this.#reply(out, REPLY.ACK);
      case OPTION.EXTENDED_HEADERS:
        if (this.#dataBytes > 0) return this.#reply(out, REPLY.ERR_INVALID);
        this.#extended = true;
        this.#structured = true;
        return this.#reply(out, REPLY.ACK);
      default:
        return this.#reply(out, REPLY.ERR_UNSUP);
    }
  }

  #answer(data: Buffer, out: ReplyWriter): Step {
    if (this.#option === OPTION.EXPORT_NAME) return this.#exportName(data, out);
    if (!this.#fixedNewstyle) return this.#reply(out, REPLY.ERR_INVALID);
    if (this.draining) return this.#reply(out, REPLY.ERR_SHUTDOWN);
    if (this.#locked) return this.#reply(out, REPLY.ERR_TLS_REQD);
    const describes = this.#option === OPTION.INFO || this.#option === OPTION.GO;
    return describes ? this.#describe(data, out) : this.#metaContexts(data, out);
  }

  /** The option counts where it is answered. */
  #goElsewhere(data: Buffer): Step {
    this.#unansweredData = Buffer.from(data);
    this.#optionsLeft++;
    return "elsewhere";
  }

  #exportName(data: Buffer, out: ReplyWriter): Step {
    const name = decodeName(data);
    // Extended headers may be followed by GO only; and there is no error reply to say so.
    const refused = this.draining || this.#locked || this.#extended;
    if (name !== undefined && !refused && this.#exports.isElsewhere(name)) return this.#goElsewhere(data);
    const found = name === undefined || refused ? undefined : this.#exports.find(name);
    if (name === undefined || found === undefined) return "violation";
    if (this.#visit?.open(found) === false) return "end";
    this.#agree(found, name);
    pushExportNameAnswer(out, found.device.sizeBytes, this.#flagsOf(found, name), this.#noZeroes);
    return "more";
  }

  /** Nothing is told before the client encrypts. */
  get #locked(): boolean {
    return this.#tls === "require" && !this.#encrypted;
  }

  #startTls(out: ReplyWriter, queue: ByteQueue): Step {
    if (this.#tls === "off") return this.#reply(out, REPLY.ERR_POLICY);
    if (this.#encrypted || this.#dataBytes > 0) return this.#reply(out, REPLY.ERR_INVALID);
    // Somebody on the way may have put bytes behind the option, to be taken for what the client says under TLS.
    if (queue.lengthBytes > 0) return "violation";
    if (!this.#hasEventLoop) return this.#goElsewhere(Buffer.alloc(0));
    // Nor may what was agreed in the open hold any longer.
    this.#structured = false;
    this.#extended = false;
    this.#contextFor = undefined;
    this.#encrypted = true;
    this.#reply(out, REPLY.ACK);
    return "tls";
  }

  #list(out: ReplyWriter): Step {
    if (!this.#listed) this.#optionsLeft += maxOptionsPerListedExport * this.#exports.count;
    this.#listed = true;
    for (const entry of this.#exports) {
      if (this.#maySee(entry)) this.#reply(out, REPLY.SERVER, serverData(entry.name, entry.description));
    }
    return this.#reply(out, REPLY.ACK);
  }

  /** INFO and GO: they answer the same; GO ends the option phase. */
  #describe(data: Buffer, out: ReplyWriter): Step {
    const query = parseInfoQuery(data);
    if (query === undefined) return this.#reply(out, REPLY.ERR_INVALID);
    if (query.name.length > maxStringBytes) return this.#reply(out, REPLY.ERR_TOO_BIG);
    const name = decodeName(query.name);
    if (name === undefined) return this.#reply(out, REPLY.ERR_INVALID);
    if (this.#exports.isElsewhere(name)) return this.#goElsewhere(data);
    const found = this.#exports.find(name);
    if (found === undefined) return this.#reply(out, REPLY.ERR_UNKNOWN);
    const isAllowed = this.#option === OPTION.GO ? (this.#visit?.open(found) ?? true) : this.#maySee(found);
    if (!isAllowed) return this.#reply(out, REPLY.ERR_POLICY);
    const { device, description } = found;
    this.#reply(out, REPLY.INFO, exportInfo(device.sizeBytes, this.#flagsOf(found, name)));
    if (query.infoTypes.has(INFO.NAME)) this.#reply(out, REPLY.INFO, textInfo(INFO.NAME, found.name));
    if (query.infoTypes.has(INFO.DESCRIPTION) && description !== "") {
      this.#reply(out, REPLY.INFO, textInfo(INFO.DESCRIPTION, description));
    }
    if (query.infoTypes.has(INFO.BLOCK_SIZE)) {
      // The protocol wants a preferred size of 512 at least; smaller blocks exist in tests only.
      const preferred = Math.max(512, device.blockBytes);
      this.#reply(out, REPLY.INFO, blockSizeInfo(1, preferred, advertisedPayloadBytes));
    }
    if (this.#option === OPTION.GO) this.#agree(found, name);
    return this.#reply(out, REPLY.ACK);
  }

  /** LIST_META_CONTEXT and SET_META_CONTEXT. There is one context, and namespaces that are not ours match nothing. */
  #metaContexts(data: Buffer, out: ReplyWriter): Step {
    const sets = this.#option === OPTION.SET_META_CONTEXT;
    // A new selection replaces the old one even when it fails.
    if (sets) this.#contextFor = undefined;
    const query = parseMetaContextQuery(data);
    if (query === undefined || (sets && !this.#structured)) return this.#reply(out, REPLY.ERR_INVALID);
    if (query.name.length > maxStringBytes) return this.#reply(out, REPLY.ERR_TOO_BIG);
    const name = decodeName(query.name);
    if (name === undefined) return this.#reply(out, REPLY.ERR_INVALID);
    if (this.#exports.isElsewhere(name)) return this.#goElsewhere(data);
    const found = this.#exports.find(name);
    if (found === undefined) return this.#reply(out, REPLY.ERR_UNKNOWN);
    if (!this.#maySee(found)) return this.#reply(out, REPLY.ERR_POLICY);
    const named = query.queries.includes(ALLOCATION_CONTEXT);
    const listed = query.queries.length === 0 || query.queries.includes("base:");
    if (sets && named) this.#contextFor = name;
    if (named || (!sets && listed)) {
      const id = sets ? ALLOCATION_CONTEXT_ID : 0;
      this.#reply(out, REPLY.META_CONTEXT, metaContextData(id, ALLOCATION_CONTEXT));
    }
    return this.#reply(out, REPLY.ACK);
  }

  #maySee(entry: Export): boolean {
    return this.#visit?.maySee(entry) ?? true;
  }

  #flagsOf(found: Export, name: string): number {
    const statusPayload = this.#extended && this.#contextFor === name;
    return exportFlags(found.device, { structured: this.#structured, statusPayload });
  }

  /** Contexts that were selected for another name than the one that is opened are void. */
  #agree(found: Export, name: string): void {
    this.agreement = {
      export: found,
      structured: this.#structured,
      extended: this.#extended,
      allocationContext: this.#contextFor === name,
    };
  }
}
