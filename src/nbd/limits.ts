/** Every limit of the server with its reason. What a peer says is never believed beyond them. */

const KiB = 2 ** 10;
const MiB = 2 ** 20;

/** Longest string of the protocol, in bytes: the specification's own bound for names and descriptions. */
export const maxStringBytes = 4096;

/** Option data above this are read past and answered ERR_TOO_BIG: no client needs a tenth of it. */
export const maxOptionBytes: number = 1 * MiB;
/** Option data above this are not worth reading past: the connection is closed. */
export const maxSkippedOptionBytes: number = 32 * MiB;
/** Options a client may send before it says GO; real ones send fewer than ten. */
export const maxOptions = 32;
/** A client that listed the exports may ask about each of them, so every listed export adds as many. */
export const maxOptionsPerListedExport = 32;

/** What clients are told to keep their payloads below: what every client may assume without being told. */
export const advertisedPayloadBytes: number = 32 * MiB;
/** What is accepted: the reference implementation's integrity test writes 48 MiB in one request. */
export const maxPayloadBytes: number = 64 * MiB;

/**
 * Data move to and from the device in slices of this many bytes (or one block, when blocks are larger). A client that
 * vanishes in mid-payload leaves whole slices behind, and a connection buffers no more than one slice of a payload.
 */
export const dataSliceBytes: number = 1 * MiB;
/** Zeroing that keeps pages reserved touches each of them, so its slices are smaller than those of a trim. */
export const reservingSliceBytes: number = 8 * MiB;
/** Trims, zeroing by trimming, and block status go over their range in slices of this many bytes. */
export const rangeSliceBytes: number = 256 * MiB;

/** Work of one connection before the event loop serves the others, in bytes moved. */
export const turnBytes: number = 8 * MiB;
/** What a request costs beside its bytes, so that a burst of tiny ones also ends a turn. */
export const requestCostBytes: number = 4 * KiB;
/** Bytes of a range that cost as much as one byte moved: a whole range slice is a whole turn. */
export const rangeBytesPerCostByte: number = rangeSliceBytes / turnBytes;

/** Extents of one block status reply: a reply of 64 KiB, or 128 with extended headers; the client asks again. */
export const maxExtents = 8192;
/** Longest extent where lengths are 32 bits wide: the largest whose end is still aligned to 4 KiB. */
export const maxCompactExtentBytes = 0xffff_f000;

/** Received bytes that may wait while a request is worked on; then the socket is not read. */
export const maxWaitingBytes: number = 256 * KiB;
/** Replies that may wait for a slow reader, in bytes and in writes; then its requests wait too. */
export const maxUnsentBytes: number = 4 * MiB;
export const maxUnsentWrites = 64;

/** Connections at a time; more are closed at once. */
export const defaultMaxConnections = 100;
/** A region can be open in 64 threads; its owner is one of them. */
export const maxThreads = 63;
/** Threads that serve, where nobody says how many: more would rather wait for each other. */
export const maxDefaultThreads = 16;
/** Time from connecting to the end of the option phase. */
export const defaultHandshakeTimeoutMs = 10_000;
/** How long `close` waits for requests in progress before it cuts connections. */
export const defaultDrainTimeoutMs = 5_000;
/** How long an ended connection is still read from, so that the peer gets our last replies and not a reset. */
export const lingerMs = 1_000;
/** Idle time after which TCP asks whether the peer still exists: hosts that lost power send no FIN. */
export const keepAliveMs = 60_000;

/** Time in which a server must have opened an export for a client of ours, before it is asked again. */
export const openTimeoutMs = 10_000;
/** What a relay keeps of one client to send it again: then the client waits. One request may be larger. */
export const maxRelayedRequests = 256;
export const maxRelayedBytes: number = 32 * MiB;
/** How often a relay looks for a server that is gone: soon at first, since a restart takes a blink. */
export const firstRetryMs = 20;
export const lastRetryMs = 250;
/** How long a relay waits for a server that said that it shuts down to hang up. */
export const goodbyeTimeoutMs = 5_000;

/** What the kernel may hold of a connection each way, as far as net.core.wmem_max and rmem_max allow. */
export const socketBufferBytes: number = 1 * MiB;

/** What a limit of rates lets somebody take at once who was quiet: so much time's worth. Timers are late by 50 ms. */
export const burstMs = 250;
/** The longest rest of who has taken too much, so that no timer overflows: a day. */
export const maxRestMs = 86_400_000;
/** Bytes that a connection with a limit of rates may move in the event loop before it is asked to rest. */
export const throttledTurnBytes: number = 256 * KiB;
/** Refused connections are told of this often at most. */
export const complaintMs = 1_000;

/** Longest path of a Unix socket: `sun_path` has 108 bytes, one of them NUL. */
export const maxSocketPathBytes = 107;
/** Sockets that one activation may hand over. */
export const maxActivationSockets = 64;
