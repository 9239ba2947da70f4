/** Floor 1: the only place that loads koffi and knows the numbers of the kernel's interfaces. */
export { allocate, punch } from "./allocate.ts";
export { deviceNumbers } from "./device-numbers.ts";
export { isByteLocked, lockByte } from "./file-lock.ts";
export { createMemfd, SystemCallError } from "./libc.ts";
export { lockHolder } from "./lock-holder.ts";
export { Mapping, type SharedMapping } from "./mapping.ts";
export { type Peer, peerOf } from "./peer.ts";
export { makeBell, Poller, pollFor, ring, silence } from "./poller.ts";
export { Scratch } from "./scratch.ts";
export type { SigbusGuard } from "./sigbus-guard.ts";
export {
  acceptNow,
  adoptListener,
  closeSocket,
  copyMemory,
  copyToBuffer,
  endSending,
  listenAtPath,
  listenAtPort,
  maxVectors,
  portOf,
  receiveNow,
  sendBytesNow,
  sendNow,
  tuneConnection,
  vectorBytes,
} from "./sockets.ts";
export { errnoOf, type SystemCalls, system, uninterrupted } from "./system.ts";
