import koffi from "koffi";
import { check, SystemCallError } from "./libc.ts";
import { closeSocket } from "./sockets.ts";

const libc = koffi.load("libc.so.6");

const epollCreate = libc.func("int epoll_create1(int flags)");
const epollControl = libc.func("int epoll_ctl(int epoll, int operation, int fd, void *event)");
const epollWait = libc.func("int epoll_wait(int epoll, void *events, int most, int timeoutMs)");
const eventfd = libc.func("int eventfd(unsigned int value, int flags)");
const writeWord = libc.func("int64 write(int fd, void *word, size_t length)");
const readWord = libc.func("int64 read(int fd, void *word, size_t length)");

/** `<sys/epoll.h>`, `<sys/eventfd.h>` */
const EPOLL_CLOEXEC = 0o2000000;
const EPOLL_CTL_ADD = 1;
const EPOLL_CTL_DEL = 2;
const EPOLL_CTL_MOD = 3;
const EFD_FLAGS = 0o2000000 | 0o4000;
/** What a descriptor is watched for, and what happened. An error or a hang-up is told of unasked. */
export const pollFor = { readable: 1, writable: 4, error: 8, hangUp: 0x10, exclusive: 2 ** 28 } as const;
/** `struct epoll_event` is packed on x86-64 alone. */
const EVENT = process.arch === "x64" ? { bytes: 12, fd: 4 } : { bytes: 16, fd: 8 };
/** Descriptors of one look; those beyond are found by the next one. */
const MOST_EVENTS = 256;

/** Waits for many descriptors: epoll(7), level-triggered. */
export class Poller implements Disposable {
  readonly #fd: number;
  readonly #event: Buffer = Buffer.alloc(EVENT.bytes);
  readonly #events: Buffer = Buffer.alloc(EVENT.bytes * MOST_EVENTS);

  /** @throws SystemCallError */
  constructor() {
    this.#fd = check("epoll_create1", epollCreate(EPOLL_CLOEXEC) as number);
  }

  /** @throws SystemCallError */
  add(fd: number, events: number): void {
    this.#control(EPOLL_CTL_ADD, fd, events);
  }

  /** @throws SystemCallError */
  change(fd: number, events: number): void {
    this.#control(EPOLL_CTL_MOD, fd, events);
  }

  /** @throws SystemCallError */
  remove(fd: number): void {
    this.#control(EPOLL_CTL_DEL, fd, 0);
  }

  /** @returns how many descriptors have something to do; 0 after the time, or when a signal came */
  wait(timeoutMs: number): number {
    const count = epollWait(this.#fd, this.#events, MOST_EVENTS, timeoutMs) as number;
    if (count >= 0 || koffi.errno() === koffi.os.errno.EINTR) return Math.max(0, count);
    throw new SystemCallError("epoll_wait", koffi.errno());
  }

  /** The descriptor of one of those that `wait` counted. */
  fdAt(k: number): number {
    return this.#events.readInt32LE(k * EVENT.bytes + EVENT.fd);
  }

  /** What happened to it, in words of `pollFor`. */
  eventsAt(k: number): number {
    return this.#events.readUInt32LE(k * EVENT.bytes);
  }

  [Symbol.dispose](): void {
    closeSocket(this.#fd);
  }

  #control(operation: number, fd: number, events: number): void {
    this.#event.writeUInt32LE(events);
    this.#event.writeInt32LE(fd, EVENT.fd);
    check("epoll_ctl", epollControl(this.#fd, operation, fd, this.#event) as number);
  }
}

const WORD_BYTES = 8;
const ONE = Buffer.from(BigUint64Array.of(1n).buffer);
const word = Buffer.alloc(WORD_BYTES);

/** An eventfd(2): one thread rings, and a poller in another one wakes up. @throws SystemCallError */
export function makeBell(): number {
  return check("eventfd", eventfd(0, EFD_FLAGS) as number);
}

/** Wakes whoever polls for the bell. */
export function ring(bell: number): void {
  writeWord(bell, ONE, WORD_BYTES);
}

/** Makes a bell silent that was rung. */
export function silence(bell: number): void {
  readWord(bell, word, WORD_BYTES);
}
