// A device that ends the thread that serves it, when it is told to: a defect that no connection is to blame for.

import { fileURLToPath } from "node:url";
import type { DirectBlocks, JoinedDevice, SharedDevice } from "../../src/device/index.ts";
import { NbdMemoryDevice } from "./nbd-memory-device.ts";

/** A device named "failing". */
export class FailingDevice extends NbdMemoryDevice {
  readonly direct: DirectBlocks;
  readonly #fuse: Int32Array;

  constructor(fuse: SharedArrayBuffer = new SharedArrayBuffer(4)) {
    super(2 ** 20, { name: "failing" });
    this.#fuse = new Int32Array(fuse);
    this.direct = { ...blocks, settle: () => this.#settle() };
  }

  /** Ends one of the threads that serve it. */
  fail(): void {
    Atomics.store(this.#fuse, 0, 1);
  }

  /** Whether a thread was ended since `fail`. */
  get hasFailed(): boolean {
    return Atomics.load(this.#fuse, 0) === 0;
  }

  share(): SharedDevice {
    return { module: import.meta.url, data: this.#fuse.buffer };
  }

  /** Called between the turns of a thread, by no connection. */
  #settle(): boolean {
    if (Atomics.exchange(this.#fuse, 0, 0) === 1) throw new Error("a defect, as a test wants it");
    return false;
  }
}

/** No request is served in place. */
const blocks: DirectBlocks = {
  enter: () => refuse(),
  leave: () => {},
  settle: () => false,
  heldPages: 0,
  addressOf: () => refuse(),
  take: () => 0,
  addressOfDraft: () => refuse(),
  putAll: () => refuse(),
  giveBack: () => refuse(),
};

function refuse(): never {
  throw new Error(`${fileURLToPath(import.meta.url)} has no blocks`);
}

/** What a serving thread opens the device with. */
export function joinDevice(data: unknown): JoinedDevice {
  return { device: new FailingDevice(data as SharedArrayBuffer), [Symbol.dispose]: () => {} };
}
