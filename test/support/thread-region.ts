// A thread that joins a region and does what it is told, one message after the other.

import { parentPort, workerData } from "node:worker_threads";
import { isPerdureError } from "../../src/base/index.ts";
import { type Page, Region, type RegionHandle } from "../../src/index.ts";

/** What the thread can be told; it answers with what `orders` says, or the code of an error of ours. */
export type Order =
  | "read"
  | "write"
  | "write often"
  | "hold"
  | "let go"
  | "store"
  | "create"
  | "close"
  | "share"
  | "sleep inside"
  | "throw inside"
  | "exit";

const region = Region.attach(workerData as RegionHandle);
let page: Page | undefined;

/** Bytes that do something when the operation that got them looks at them, which is behind its locks. */
function bytesThat(act: () => void): Uint8Array {
  const bytes = new Uint8Array(region.pageBytes);
  let looks = 0;
  const getLength = (): number => {
    if (looks++ > 0) act();
    return region.pageBytes;
  };
  return Object.defineProperty(bytes, "length", { get: getLength });
}

function sleepForEver(): void {
  parentPort?.postMessage("inside");
  for (;;) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1000);
}

const common = region.instance("test", "common");
const orders: Readonly<Record<Order, () => unknown>> = {
  read: () => common.read(0)[0],
  write: () => common.write(0, new Uint8Array(region.pageBytes).fill(9)),
  "write often": () => {
    for (let k = 1; k <= 3000; k++) common.write(0, new Uint8Array(region.pageBytes).fill(k));
  },
  hold: () => {
    page = common.ensure(0);
  },
  "let go": () => page?.[Symbol.dispose](),
  store: () => {
    using held = common.get(0);
    held.bytes.fill(9);
  },
  create: () => region.instance("test", "theirs", { create: true }).write(3, new Uint8Array(region.pageBytes).fill(4)),
  close: () => region[Symbol.dispose](),
  share: () => region.share(),
  "sleep inside": () => common.write(0, bytesThat(sleepForEver)),
  "throw inside": () => {
    const explode = (): void => {
      throw new Error("a bug");
    };
    common.write(0, bytesThat(explode));
  },
  exit: () => process.exit(),
};

parentPort?.on("message", (order: Order) => {
  try {
    parentPort?.postMessage(orders[order]() ?? "done");
  } catch (error) {
    parentPort?.postMessage(isPerdureError(error) ? error.code : (error as Error).message);
  }
});
parentPort?.postMessage("joined");
