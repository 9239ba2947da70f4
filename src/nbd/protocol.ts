/**
 * Every number of the NBD protocol that this server knows, by the name that the specification gives it
 * (NetworkBlockDevice/nbd, doc/proto.md). All integers on the wire are big-endian.
 */

/** What opens the server's hello: "NBDMAGIC", then "IHAVEOPT". */
export const HELLO_MAGIC = "NBDMAGICIHAVEOPT";
/** "IHAVEOPT" as two words; it opens every option request. */
export const OPTION_MAGIC = { high: 0x49484156, low: 0x454f5054 } as const;
export const OPTION_REPLY_MAGIC = { high: 0x0003e889, low: 0x045565a9 } as const;
export const REQUEST_MAGIC = 0x25609513;
export const SIMPLE_REPLY_MAGIC = 0x67446698;
export const CHUNK_MAGIC = 0x668e33ef;
export const EXTENDED_REQUEST_MAGIC = 0x21e41c71;
export const EXTENDED_CHUNK_MAGIC = 0x6e8a278c;

/** The port that IANA gave to NBD. */
export const DEFAULT_PORT = 10809;

/** Handshake flags; client and server use the same bits. */
export const HANDSHAKE = { FIXED_NEWSTYLE: 1 << 0, NO_ZEROES: 1 << 1 } as const;

export const OPTION = {
  EXPORT_NAME: 1,
  ABORT: 2,
  LIST: 3,
  STARTTLS: 5,
  INFO: 6,
  GO: 7,
  STRUCTURED_REPLY: 8,
  LIST_META_CONTEXT: 9,
  SET_META_CONTEXT: 10,
  EXTENDED_HEADERS: 11,
} as const;

const ERROR_BIT = 2 ** 31;
/** Types of option replies; those from 2^31 on are errors. */
export const REPLY = {
  ACK: 1,
  SERVER: 2,
  INFO: 3,
  META_CONTEXT: 4,
  ERR_UNSUP: ERROR_BIT + 1,
  ERR_POLICY: ERROR_BIT + 2,
  ERR_INVALID: ERROR_BIT + 3,
  ERR_TLS_REQD: ERROR_BIT + 5,
  ERR_UNKNOWN: ERROR_BIT + 6,
  ERR_SHUTDOWN: ERROR_BIT + 7,
  ERR_TOO_BIG: ERROR_BIT + 9,
  ERR_EXT_HEADER_REQD: ERROR_BIT + 10,
} as const;

/** What an INFO reply tells. */
export const INFO = { EXPORT: 0, NAME: 1, DESCRIPTION: 2, BLOCK_SIZE: 3 } as const;

/** Transmission flags: what an export can do. */
export const EXPORT_FLAG = {
  HAS_FLAGS: 1 << 0,
  READ_ONLY: 1 << 1,
  SEND_FLUSH: 1 << 2,
  SEND_FUA: 1 << 3,
  SEND_TRIM: 1 << 5,
  SEND_WRITE_ZEROES: 1 << 6,
  SEND_DF: 1 << 7,
  CAN_MULTI_CONN: 1 << 8,
  SEND_CACHE: 1 << 10,
  SEND_FAST_ZERO: 1 << 11,
  BLOCK_STATUS_PAYLOAD: 1 << 12,
} as const;

export const COMMAND = {
  READ: 0,
  WRITE: 1,
  DISC: 2,
  FLUSH: 3,
  TRIM: 4,
  CACHE: 5,
  WRITE_ZEROES: 6,
  BLOCK_STATUS: 7,
} as const;

export const COMMAND_FLAG = {
  FUA: 1 << 0,
  NO_HOLE: 1 << 1,
  DF: 1 << 2,
  REQ_ONE: 1 << 3,
  FAST_ZERO: 1 << 4,
  /** Extended headers only: the length is that of a payload behind the header. */
  PAYLOAD_LEN: 1 << 5,
} as const;

/** Types of reply chunks. */
export const CHUNK_TYPE = {
  NONE: 0,
  OFFSET_DATA: 1,
  OFFSET_HOLE: 2,
  BLOCK_STATUS: 5,
  BLOCK_STATUS_EXT: 6,
  ERROR: 0x8001,
} as const;
export const CHUNK_FLAG = { DONE: 1 << 0 } as const;

/** Error numbers of replies. They are the protocol's own, whatever errno numbers the host has. */
export const NBD_ERROR = {
  NONE: 0,
  EPERM: 1,
  EIO: 5,
  EINVAL: 22,
  ENOSPC: 28,
  EOVERFLOW: 75,
  ENOTSUP: 95,
  ESHUTDOWN: 108,
} as const;

/** The one metadata context of this server, and its state bits. */
export const ALLOCATION_CONTEXT = "base:allocation";
export const ALLOCATION_CONTEXT_ID = 1;
export const ALLOCATION_STATE = { HOLE: 1 << 0, ZERO: 1 << 1 } as const;
