// A process that touches memory whose file has become shorter. What it says are lines; how it ends is what is tested.

import { ftruncateSync, readSync, writeSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { isMainThread, Worker } from "node:worker_threads";
import { createMemfd, Mapping } from "../../src/os/index.ts";
import { exchangeSignalAction, makeExecutable, mapAnonymous, mapFile, viewAddress } from "../../src/os/libc.ts";
import { SigbusGuard } from "../../src/os/sigbus-guard.ts";

/** The path of this program. */
export const sigbusProgram: string = fileURLToPath(import.meta.url);
/** How a handler that was there before ours ends the process. */
export const foreignExitCode = 42;

const SIZE = 64 * 4096;
const ROUNDS = 300;
const SIGBUS = 7;
/** glibc's struct sigaction. */
const ACTION_BYTES = 152;
const SIG_IGN = 1n;

function say(line: string): void {
  writeSync(1, `${line}\n`);
}

function waitForParent(): void {
  while (readSync(0, Buffer.alloc(64)) > 0);
}

/** A file in memory of which nothing is left, and a mapping of it that expects all of it. */
function emptied(): { address: bigint; bytes: Uint8Array } {
  const fd = createMemfd("sigbus-test");
  ftruncateSync(fd, SIZE);
  const address = mapFile(fd, SIZE, "shared");
  ftruncateSync(fd, 0);
  return { address, bytes: new Uint8Array(viewAddress(address, SIZE)) };
}

/** Every way of touching memory that V8 has code of its own for. */
const touches: readonly ((bytes: Uint8Array, words: Int32Array, at: number) => number)[] = [
  (bytes, _words, at) => bytes[at],
  (_bytes, words, at) => Atomics.load(words, at >>> 2),
  (bytes, _words, at) => new DataView(bytes.buffer).getFloat64(at),
  (bytes, _words, at) => Buffer.compare(bytes.subarray(at, at + 64), new Uint8Array(64)),
  (bytes, _words, at) => bytes.slice(at, at + 64).reduce((sum, byte) => sum + byte, 0),
  (bytes, _words, at) => {
    bytes[at] = 1;
    return bytes[at] - 1;
  },
  (_bytes, words, at) => Atomics.add(words, at >>> 2, 1),
  (bytes, _words, at) => {
    bytes.subarray(at, at + 4096).fill(1);
    return 0;
  },
  (bytes, _words, at) => {
    bytes.set(new Uint8Array(4096).fill(1), at);
    return 0;
  },
];

/** Loses a mapping again and again, each time by another touch, beside a mapping that must stay whole. */
function storm(): string {
  const fd = createMemfd("sigbus-test");
  ftruncateSync(fd, SIZE);
  using kept = new Mapping(fd, SIZE, "shared");
  const whole = new Uint8Array(kept.view(0, SIZE)).fill(7);
  const lostFd = createMemfd("sigbus-test");
  let wrong = 0;
  for (let round = 0; round < ROUNDS; round++) {
    ftruncateSync(lostFd, SIZE);
    using lost = new Mapping(lostFd, SIZE, round % 3 === 2 ? "private" : "shared");
    const bytes = new Uint8Array(lost.view(0, SIZE));
    bytes[0] = 9;
    if (lost.guard.isLost) wrong++;
    ftruncateSync(lostFd, 0);
    // A private mapping keeps the page that was stored to.
    const at = 4096 * (1 + (round % 62));
    if (touches[round % touches.length](bytes, new Int32Array(bytes.buffer), at) !== 0) wrong++;
    for (let page = 1; page < 64; page++) bytes[4096 * page + 8] = 1;
    if (!lost.guard.isLost || kept.guard.isLost) wrong++;
    if (bytes[0] !== 0) wrong++;
  }
  if (whole.some((byte) => byte !== 7)) wrong++;
  return `${ROUNDS} rounds, ${wrong} wrong`;
}

/** Installs a handler as another library might, before ours is there. */
function installForeign(handler: bigint): void {
  const action = Buffer.alloc(ACTION_BYTES);
  action.writeBigUInt64LE(handler, 0);
  exchangeSignalAction(SIGBUS, action, ACTION_BYTES);
}

/**
 * Two handlers of ours with a table each, as two threads make them that are the first at the same moment. What a thread
 * borrows is a guard in the one table or the other.
 */
function borrow(): string {
  const none = Buffer.alloc(ACTION_BYTES);
  const files = ["lost", "kept"].map((name) => createMemfd(name));
  for (const fd of files) ftruncateSync(fd, SIZE);
  using lost = new Mapping(files[0], SIZE, "shared");
  const first = exchangeSignalAction(SIGBUS, none, ACTION_BYTES);
  using kept = new Mapping(files[1], SIZE, "shared");
  exchangeSignalAction(SIGBUS, first, ACTION_BYTES);
  const borrowed = [lost, kept].map(
    ({ address, guard }, k) => new Mapping(files[k], SIZE, "shared", { address, guard: guard.entryAddress }),
  );
  ftruncateSync(files[0], 0);
  new Uint8Array(lost.view(0, SIZE))[5] = 1;
  const marks = borrowed.map(({ guard }) => guard.isLost);
  for (const one of borrowed) one[Symbol.dispose]();
  return `lost: ${marks.join()}`;
}

/** `exit_group(42)`: mov edi, 42; mov eax, 231; syscall. */
function exitingHandler(): bigint {
  const address = mapAnonymous(4096);
  new Uint8Array(viewAddress(address, 4096)).set(Buffer.from("bf2a000000b8e70000000f05", "hex"));
  makeExecutable(address, 4096);
  return address;
}

const commands: Readonly<Record<string, (...args: string[]) => void>> = {
  /** Mappings are lost in two threads at once, which also install the handler at once. */
  storm: () => {
    const worker = new Worker(sigbusProgram);
    say(`main: ${storm()}`);
    worker.on("exit", (code) => say(`worker: exit code ${code}`));
  },
  /** Borrows guards of two tables. */
  borrow: () => say(borrow()),
  /** Waits for a signal from outside, with the guard in place. */
  wait: (before) => {
    if (before === "ignored") installForeign(SIG_IGN);
    if (before === "handled") installForeign(exitingHandler());
    // Where a fault has its address, a signal that was sent has the sender's process and user.
    const sender = (BigInt(process.getuid?.() ?? 0) << 32n) + BigInt(process.ppid);
    using guard = new SigbusGuard(sender - (sender % 4096n), 4096);
    say(guard.isActive ? "active" : "inactive");
    waitForParent();
    say("alive");
  },
  /** Touches lost memory that nobody guards any longer, beside some that is guarded. */
  foreign: (before) => {
    if (before === "handled") installForeign(exitingHandler());
    using guard = new SigbusGuard(mapAnonymous(SIZE), SIZE);
    const { address, bytes } = emptied();
    new SigbusGuard(address, SIZE)[Symbol.dispose]();
    say(`touched ${bytes[5]}, ${guard.isActive ? "guarded" : "not guarded"}`);
  },
  /** Touches lost memory that cannot be replaced: the kernel maps only at a whole page. */
  irreplaceable: () => {
    const { address, bytes } = emptied();
    using guard = new SigbusGuard(address + 1n, SIZE - 1);
    say(`touched ${bytes[5]}, ${guard.isActive ? "guarded" : "not guarded"}`);
  },
};

if (!isMainThread) say(`worker: ${storm()}`);
else if (process.argv[1] === sigbusProgram) commands[process.argv[2]](...process.argv.slice(3));
