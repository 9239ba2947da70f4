import { PerdureError } from "../base/index.ts";
import { detach } from "./detach.ts";
import { exchangeSignalAction, makeExecutable, mapAnonymous, SystemCallError, unmap, viewAddress } from "./libc.ts";
import { sigbusHandlerCode, sigbusTable } from "./sigbus-handler.ts";

/** `<bits/signum-arch.h>` */
const SIGBUS = 7;
/** `<bits/sigaction.h>`: u64 handler, 128 bytes of mask, u32 flags, 4 of padding, u64 restorer (glibc fills it). */
const STRUCT_SIGACTION_BYTES = 152;
const FLAGS_OFFSET = 136;
const SA_SIGINFO = 4;
/** Threads that have a stack of their own for signals get it on that one. */
const SA_ONSTACK = 0x0800_0000;
/** A system call that is interrupted by a signal which is then ignored goes on. */
const SA_RESTART = 0x1000_0000;

const { codeBytes, tableBytes, entryBytes } = sigbusTable;
/** As many mappings can be guarded at once: what fits the table, and far fewer than the kernel allows a process. */
const maxGuards = tableBytes / entryBytes - 1;

/** A table that all threads share; each has views of its own. */
interface Table {
  readonly address: bigint;
  readonly words: Int32Array;
  readonly pairs: BigInt64Array;
}

/** The tables that this thread has met, by the address of the handler that reads them. */
const tables = new Map<bigint, Table>();
/** Set when this process may not have executable memory of its own making. */
let isRefused = false;
/** What a guard looks at that guards nothing: so asking it branches nowhere. */
const neverLost = new Int32Array(1);

/**
 * A mapping whose loss this process survives. Touching a page that its file does not have any more, since it was made
 * shorter, is a SIGBUS, and so is touching memory that has failed. Unguarded, it ends the process without a word.
 * Guarded, the whole mapping turns into zeroes that belong to nobody, and `isLost` says so: what was read since is not
 * what was stored, and what was stored since is nowhere.
 */
export class SigbusGuard implements Disposable {
  /** False on other machines than x86-64, and where memory cannot be made executable. */
  readonly isActive: boolean;
  #words: Int32Array = neverLost;
  /** Which of the words is the mark. */
  #lost = 0;
  /** The table, for the thread that made the guard. */
  readonly #table: Table | undefined;
  /** Where it stands in the table. */
  readonly #entry: number = 0;
  /** The same in the address space of the process, for other threads: there may be several tables. 0 for nowhere. */
  readonly entryAddress: bigint;

  /** With `borrowed` it is the guard of another thread, of that address. @throws EBUSY when the table is full */
  constructor(address: bigint, lengthBytes: number, borrowed?: bigint) {
    this.#table = borrowed === undefined ? installed() : undefined;
    this.entryAddress = borrowed ?? 0n;
    if (this.#table !== undefined) {
      this.#entry = takeEntry(this.#table);
      this.entryAddress = this.#table.address + BigInt(this.#entry);
      this.#words = this.#table.words;
      this.#lost = (this.#entry + sigbusTable.lost) / 4;
      this.#words[this.#lost] = 0;
      // The end comes last: until then no address lies in the range.
      this.#setPair(this.#table, sigbusTable.begin, address);
      this.#setPair(this.#table, sigbusTable.end, address + BigInt(lengthBytes));
    } else if (this.entryAddress !== 0n) {
      this.#words = new Int32Array(viewAddress(this.entryAddress, entryBytes));
      this.#lost = sigbusTable.lost / 4;
    }
    this.isActive = this.entryAddress !== 0n;
  }

  /** One plain load, so that it can be asked after every operation. A fault is handled before the loads after it. */
  get isLost(): boolean {
    return this.#words[this.#lost] !== 0;
  }

  /** Must come before the mapping ends: its addresses may be somebody else's then. */
  [Symbol.dispose](): void {
    if (this.#words === neverLost) return;
    // The entry may be another's in a moment.
    this.#words = neverLost;
    this.#lost = 0;
    if (this.#table === undefined) return;
    this.#setPair(this.#table, sigbusTable.end, 0n);
    this.#setPair(this.#table, sigbusTable.begin, 0n);
    Atomics.store(this.#table.words, (this.#entry + sigbusTable.taken) / 4, 0);
  }

  #setPair({ pairs }: Table, field: number, value: bigint): void {
    Atomics.store(pairs, (this.#entry + field) / 8, value);
  }
}

/** Takes a free entry; other threads may be doing the same. @returns its offset in the table */
function takeEntry({ words }: Table): number {
  for (let entry = entryBytes; entry < tableBytes; entry += entryBytes) {
    if (Atomics.compareExchange(words, (entry + sigbusTable.taken) / 4, 0, 1) === 0) return entry;
  }
  throw new PerdureError("EBUSY", `this process has ${maxGuards} memories mapped already`, {
    remedy: "close regions that are not in use",
  });
}

/**
 * The table of the handler that is installed, which another thread may have done; installs it when it is not. Two
 * threads that do so at once install two, and the later one calls the earlier one for what is not its own.
 */
function installed(): Table | undefined {
  if (process.arch !== "x64" || isRefused) return undefined;
  const present = exchangeSignalAction(SIGBUS, undefined, STRUCT_SIGACTION_BYTES).readBigUInt64LE(0);
  const known = tables.get(present);
  if (known !== undefined) return known;
  try {
    const handler = isHandler(present) ? present : install(present);
    const table = tableAt(handler);
    tables.set(handler, table);
    return table;
  } catch (error) {
    // Programs may be forbidden to make code; they live without the guard, as on other machines.
    if (!(error instanceof SystemCallError)) throw error;
    isRefused = true;
    return undefined;
  }
}

/** Whether another thread has installed our code there. Nothing beyond the page of the address is read. */
function isHandler(address: bigint): boolean {
  if (address === 0n || address % BigInt(codeBytes) !== 0n) return false;
  const code = sigbusHandlerCode();
  const there = viewAddress(address, code.length);
  const isSame = code.equals(new Uint8Array(there));
  detach(there);
  return isSame;
}

/** Code and table stay until the process ends: a thread may be in the handler at any time. @returns the handler */
function install(previous: bigint): bigint {
  const address = mapAnonymous(codeBytes + tableBytes);
  const code = viewAddress(address, codeBytes);
  sigbusHandlerCode().copy(new Uint8Array(code));
  detach(code);
  try {
    makeExecutable(address, codeBytes);
  } catch (error) {
    unmap(address, codeBytes + tableBytes);
    throw error;
  }
  const { pairs } = tableAt(address);
  // Before it is installed: from then on it can be asked for.
  Atomics.store(pairs, 0, previous);
  const action = Buffer.alloc(STRUCT_SIGACTION_BYTES);
  action.writeBigUInt64LE(address, 0);
  action.writeUInt32LE(SA_SIGINFO | SA_ONSTACK | SA_RESTART, FLAGS_OFFSET);
  const replaced = exchangeSignalAction(SIGBUS, action, STRUCT_SIGACTION_BYTES).readBigUInt64LE(0);
  // Another thread may have been faster.
  Atomics.store(pairs, 0, replaced);
  return address;
}

function tableAt(handler: bigint): Table {
  const address = handler + BigInt(codeBytes);
  const buffer = viewAddress(address, tableBytes);
  return { address, words: new Int32Array(buffer), pairs: new BigInt64Array(buffer) };
}
