// What both ends of the control socket agree on: HTTP, `POST /v1/OPERATION` with a JSON object in, one JSON value out.

/** In front of the name of an operation. */
export const pathPrefix = "/v1/";

/** The header by which a client says for which memory it speaks. */
export const memoryHeader = "perdure-memory";

/** The answer to a client that means another memory. */
export const statusOtherMemory = 421;

/** No operation needs more: names have at most 255 bytes. */
export const maxInputBytes = 16 * 1024;

/** A request, its headers and its input must be there within this time: who sends none holds a place for nothing. */
export const requestTimeoutMs = 10_000;

/** As many may be connected at a time: the operations of all of them are done one after the other. */
export const maxClients = 64;

/** How long the end of a server waits for answers that a client does not read. */
export const drainTimeoutMs = 5_000;

/** How long a client waits for an answer. A disk is removed when its clients are gone, which takes seconds. */
export const answerTimeoutMs = 60_000;
