import koffi from "koffi";
import { check, SystemCallError } from "./libc.ts";

/*
 * Stream sockets for threads that work without an event loop. Addresses of memory are numbers: they are below 2^47, and
 * a BigInt for each call would be garbage. No call waits, and each that finds nothing to do says so by -1.
 */
const libc = koffi.load("libc.so.6");

const socket = libc.func("int socket(int domain, int type, int protocol)");
const bind = libc.func("int bind(int fd, void *address, uint32 length)");
const listen = libc.func("int listen(int fd, int backlog)");
const accept4 = libc.func("int accept4(int fd, void *address, void *length, int flags)");
const getsockname = libc.func("int getsockname(int fd, _Out_ uint8 *address, _Inout_ uint32 *length)");
const getsockopt = libc.func("int getsockopt(int fd, int level, int option, _Out_ int *value, _Inout_ uint32 *length)");
const fcntl = libc.func("int fcntl(int fd, int command, int value)");
const setsockopt = libc.func("int setsockopt(int fd, int level, int option, void *value, uint32 length)");
const inetPton = libc.func("int inet_pton(int family, const char *text, _Out_ uint8 *bytes)");
const shutdown = libc.func("int shutdown(int fd, int how)");
const readv = libc.func("int64 readv(int fd, int64 vectors, int count)");
const writev = libc.func("int64 writev(int fd, int64 vectors, int count)");
const send = libc.func("int64 send(int fd, void *bytes, size_t length, int flags)");
const memcpy = libc.func("int64 memcpy(int64 target, int64 source, size_t length)");
const copyOut = libc.func("memcpy", "int64", ["void *", "int64", "size_t"]);

/** `<sys/socket.h>` */
const AF_UNIX = 1;
const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_STREAM = 1;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
const SO_REUSEADDR = 2;
const SO_SNDBUF = 7;
const SO_RCVBUF = 8;
const SO_KEEPALIVE = 9;
const SO_ACCEPTCONN = 30;
const SHUT_WR = 1;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
/** `<netinet/in.h>`, `<netinet/tcp.h>` */
const IPPROTO_TCP = 6;
const TCP_NODELAY = 1;
const TCP_KEEPIDLE = 4;
/** `struct sockaddr_un`, `sockaddr_in` and `sockaddr_in6`: where their parts stand. */
const UNIX_ADDRESS_BYTES = 110;
const IPV4 = { family: AF_INET, at: 4, bytes: 4, addressBytes: 16 } as const;
const IPV6 = { family: AF_INET6, at: 8, bytes: 16, addressBytes: 28 } as const;
/** Connections that wait to be accepted; the kernel has a limit of its own (net.core.somaxconn). */
const BACKLOG = 511;
/** `<sys/uio.h>`: the most vectors of one call. */
export const maxVectors = 1024;
/** A `struct iovec`: address and length, 64 bits each. */
export const vectorBytes = 16;

/** `<fcntl.h>` */
const F_GETFL = 3;
const F_SETFL = 4;
const O_NONBLOCK = 0o4000;

const { EAGAIN, EINTR, EINVAL } = koffi.os.errno;

/** -1 when the call would have waited, or was interrupted. */
function checkNow(call: string, result: number): number {
  if (result !== -1) return result;
  const errno = koffi.errno();
  if (errno === EAGAIN || errno === EINTR) return -1;
  throw new SystemCallError(call, errno);
}

/** A listening Unix socket at a path that does not exist. @returns the descriptor. @throws SystemCallError */
export function listenAtPath(path: string): number {
  const address = Buffer.alloc(UNIX_ADDRESS_BYTES);
  address.writeUInt16LE(AF_UNIX);
  address.write(path, 2);
  return listenAt(AF_UNIX, address);
}

/**
 * A listening TCP socket.
 *
 * @param host an address of IPv4 or IPv6 in digits
 * @throws SystemCallError
 */
export function listenAtPort(host: string, port: number): number {
  const { family, at, bytes, addressBytes } = host.includes(":") ? IPV6 : IPV4;
  const digits = new Uint8Array(bytes);
  if (inetPton(family, host, digits) !== 1) throw new SystemCallError("inet_pton", EINVAL);
  const address = Buffer.alloc(addressBytes);
  address.writeUInt16LE(family);
  address.writeUInt16BE(port, 2);
  address.set(digits, at);
  return listenAt(family, address);
}

function listenAt(family: number, address: Buffer): number {
  const fd = check("socket", socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0) as number);
  try {
    // Else a server that was restarted could not listen where connections of the old one are just ending.
    if (family !== AF_UNIX) setNumber(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    check("bind", bind(fd, address, address.length) as number);
    check("listen", listen(fd, BACKLOG) as number);
    return fd;
  } catch (error) {
    closeSocket(fd);
    throw error;
  }
}

/** Makes a listening socket of somebody else's one that does not wait. @throws SystemCallError for what is none */
export function adoptListener(fd: number): void {
  const isListening = [0];
  check("getsockopt", getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, isListening, [4]) as number);
  if (isListening[0] === 0) throw new SystemCallError("accept", EINVAL);
  const flags = check("fcntl", fcntl(fd, F_GETFL, 0) as number);
  check("fcntl", fcntl(fd, F_SETFL, flags | O_NONBLOCK) as number);
}

/** The port that a TCP socket is bound to. @throws SystemCallError */
export function portOf(fd: number): number {
  const address = Buffer.alloc(IPV6.addressBytes);
  check("getsockname", getsockname(fd, address, [address.length]) as number);
  return address.readUInt16BE(2);
}

/** Takes the next connection. @returns its descriptor, which does not wait; -1 when there is none. @throws */
export function acceptNow(fd: number): number {
  return checkNow("accept4", accept4(fd, null, null, SOCK_NONBLOCK | SOCK_CLOEXEC) as number);
}

/** Sets what connections of servers want: no delay, a probe of silent peers, room in the kernel for bursts. */
export function tuneConnection(fd: number, options: { keepAliveMs: number; bufferBytes: number }): void {
  setNumber(fd, SOL_SOCKET, SO_SNDBUF, options.bufferBytes);
  setNumber(fd, SOL_SOCKET, SO_RCVBUF, options.bufferBytes);
  setNumber(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  setNumber(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  setNumber(fd, IPPROTO_TCP, TCP_KEEPIDLE, Math.ceil(options.keepAliveMs / 1000));
}

// What is refused (TCP's options on a Unix socket) is a matter of comfort.
function setNumber(fd: number, level: number, option: number, value: number): void {
  setsockopt(fd, level, option, Buffer.from(Int32Array.of(value).buffer), 4);
}

/** readv(2). @returns how many bytes came, 0 at the end, -1 when none are there. @throws SystemCallError */
export function receiveNow(fd: number, vectors: number, count: number): number {
  return checkNow("readv", readv(fd, vectors, count) as number);
}

/** writev(2). @returns how many bytes the kernel took, -1 for none. @throws SystemCallError EPIPE, EFAULT, ... */
export function sendNow(fd: number, vectors: number, count: number): number {
  return checkNow("writev", writev(fd, vectors, count) as number);
}

/** As `sendNow`, for one buffer. */
export function sendBytesNow(fd: number, bytes: Uint8Array): number {
  return checkNow("send", send(fd, bytes, bytes.length, MSG_DONTWAIT | MSG_NOSIGNAL) as number);
}

/** Copies bytes from one address to another, without an object for either. */
export function copyMemory(target: number, source: number, lengthBytes: number): void {
  memcpy(target, source, lengthBytes);
}

/** Copies bytes from an address into a buffer. */
export function copyToBuffer(target: Uint8Array, source: number): void {
  copyOut(target, source, target.length);
}

/** Tells the peer that no more bytes come. */
export function endSending(fd: number): void {
  shutdown(fd, SHUT_WR);
}

const close = libc.func("int close(int fd)");

/** Never again after an error: the descriptor is gone even then. */
export function closeSocket(fd: number): void {
  close(fd);
}
