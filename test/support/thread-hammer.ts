// A thread that does everything to a region that others use, too, and knows what must stand where only it writes.

import { writeSync } from "node:fs";
import { parentPort, workerData } from "node:worker_threads";
import { isPerdureError } from "../../src/base/index.ts";
import { type Instance, Region, type RegionHandle } from "../../src/index.ts";
import { below, seeded } from "../../src/testing/index.ts";

/** What a hammering thread is told. */
export interface HammerTask {
  readonly handle: RegionHandle;
  /** 0 to `workers` - 1: it writes to the indices of the common instance that have this remainder. */
  readonly worker: number;
  readonly workers: number;
  readonly seed: number;
  readonly turns: number;
  /** A descriptor to which it tells every write that returned, in six bytes: index and value. */
  readonly acknowledge?: number;
  /** Values count from here on, so that those of several lives differ. */
  readonly firstValue?: number;
}

/** What it leaves: values by index, of the common instance and of its own. */
export interface HammerResult {
  readonly common: Map<number, number>;
  readonly own: Map<number, number> | undefined;
}

export const COMMON = "common";
export const INDICES = 256;
/** Indices of an own instance. */
const OWN_INDICES = 40;

/** A page that tells whether all of it was written at once. */
export function pageOf(region: Region, value: number): Uint8Array {
  return new Uint8Array(new Uint32Array(region.pageBytes / 4).fill(value).buffer);
}

/** The value of a page of `pageOf`, 0 for a hole. @throws when it is a mixture */
export function valueOf(page: Uint8Array): number {
  const words = new Uint32Array(page.buffer, page.byteOffset, page.length / 4);
  const odd = words.findIndex((word) => word !== words[0]);
  if (odd >= 0) throw new Error(`a page of ${words[0].toString(16)} with ${words[odd].toString(16)} at word ${odd}`);
  return words[0];
}

/** The thread that wrote a value, from 1 on. */
const workerOf = (value: number): number => value >>> 24;

class Hammer {
  readonly common: Map<number, number> = new Map();
  own: Map<number, number> | undefined;
  readonly #task: HammerTask;
  readonly #region: Region;
  readonly #common: Instance;
  readonly #random: ReturnType<typeof seeded>;
  #value = 0;
  #name = 0;
  #instance: Instance | undefined;

  constructor(task: HammerTask, region: Region) {
    this.#task = task;
    this.#region = region;
    this.#common = region.instance("test", COMMON);
    this.#random = seeded(task.seed + task.worker);
    this.#value = task.firstValue ?? 0;
    // An instance of its own has a name that no life before had.
    this.#name = this.#value;
    for (let index = task.worker; index < INDICES; index += task.workers) {
      if (this.#common.has(index)) this.common.set(index, valueOf(this.#common.read(index)));
    }
  }

  turn(): void {
    const acts = [this.#write, this.#write, this.#write, this.#read, this.#read, this.#free, this.#pin, this.#ownLife];
    acts[below(this.#random, acts.length)].call(this);
  }

  #nextValue(): number {
    this.#value = (this.#value + 1) & 0xff_ffff;
    return ((this.#task.worker + 1) << 24) | this.#value;
  }

  #ownIndex(): number {
    const { worker, workers } = this.#task;
    return worker + workers * below(this.#random, INDICES / workers);
  }

  #write(): void {
    const index = this.#ownIndex();
    const value = this.#nextValue();
    this.#common.write(index, pageOf(this.#region, value));
    this.common.set(index, value);
    this.#acknowledge(index, value);
  }

  #acknowledge(index: number, value: number): void {
    if (this.#task.acknowledge === undefined) return;
    const line = Buffer.alloc(6);
    line.writeUInt16LE(index, 0);
    line.writeUInt32LE(value, 2);
    for (;;) {
      try {
        writeSync(this.#task.acknowledge, line);
        return;
      } catch (error) {
        // The pipe is full: the parent reads on.
        if ((error as { code?: string }).code !== "EAGAIN") throw error;
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
      }
    }
  }

  #read(): void {
    const index = below(this.#random, INDICES);
    const value = valueOf(this.#common.read(index));
    const { worker, workers } = this.#task;
    if (index % workers === worker) this.#expect("read", index, value, this.common.get(index) ?? 0);
    else if (value !== 0) this.#expect("the writer of", index, workerOf(value), (index % workers) + 1);
  }

  #free(): void {
    const index = this.#ownIndex();
    // Values that were told of stay.
    if (this.#task.acknowledge !== undefined) return;
    this.#expect("freed", index, Number(this.#common.free(index)), Number(this.common.has(index)));
    this.common.delete(index);
  }

  #pin(): void {
    const index = this.#ownIndex();
    const page = this.#common.ensure(index);
    this.#expect("held", index, valueOf(page.bytes), this.common.get(index) ?? 0);
    this.#refused("EBUSY", () => this.#common.write(index, pageOf(this.#region, 1)));
    page[Symbol.dispose]();
    if (!this.common.has(index)) this.common.set(index, 0);
  }

  /** Makes, changes and deletes an instance of its own. */
  #ownLife(): void {
    if (this.#instance === undefined || this.own === undefined) {
      this.#name++;
      const name = `own ${this.#task.worker}.${this.#name}`;
      this.#instance = this.#region.instance("test", name, { create: true, sizeBytes: 64 * this.#region.pageBytes });
      this.own = new Map();
      return;
    }
    const index = below(this.#random, OWN_INDICES);
    switch (below(this.#random, 10)) {
      case 0:
        this.#instance.delete();
        this.#refused("ENOENT", () => this.#instance?.read(0));
        this.#instance = undefined;
        this.own = undefined;
        return;
      case 1:
        this.#instance.resize((OWN_INDICES + below(this.#random, 64)) * this.#region.pageBytes);
        return;
      case 2:
        this.#instance.rename(`renamed ${this.#task.worker}.${this.#name}.${this.#nextValue()}`);
        return;
      case 3:
        this.#snapshotLife(this.#instance, this.own, index);
        return;
      case 4:
        this.#instance.free(index);
        this.own.delete(index);
        return;
      case 5:
        this.#expect("own", index, valueOf(this.#instance.read(index)), this.own.get(index) ?? 0);
        return;
      default: {
        const value = this.#nextValue();
        this.#instance.write(index, pageOf(this.#region, value));
        this.own.set(index, value);
      }
    }
  }

  /** A snapshot keeps what was there while the instance goes on. */
  #snapshotLife(instance: Instance, own: Map<number, number>, index: number): void {
    const before = own.get(index) ?? 0;
    const snapshot = instance.snapshot(`snap ${this.#task.worker}.${this.#nextValue()}`);
    const value = this.#nextValue();
    instance.write(index, pageOf(this.#region, value));
    own.set(index, value);
    this.#expect("snapshot", index, valueOf(snapshot.read(index)), before);
    this.#expect("over a snapshot", index, valueOf(instance.read(index)), value);
    snapshot.purge();
    this.#expect("without its snapshot", index, valueOf(instance.read(index)), value);
  }

  #expect(what: string, index: number, found: number, expected: number): void {
    if (found === expected) return;
    const { worker } = this.#task;
    throw new Error(`thread ${worker}: ${what} ${index}: ${found.toString(16)}, not ${expected.toString(16)}`);
  }

  #refused(code: string, act: () => unknown): void {
    try {
      act();
    } catch (error) {
      if (isPerdureError(error) && error.code === code) return;
      throw error;
    }
    throw new Error(`not refused with ${code}`);
  }
}

async function main(task: HammerTask): Promise<void> {
  const region = Region.attach(task.handle);
  const hammer = new Hammer(task, region);
  for (let turn = 0; turn < task.turns; turn++) hammer.turn();
  await region.close();
  parentPort?.postMessage({ common: hammer.common, own: hammer.own } satisfies HammerResult);
}

if (workerData !== null) await main(workerData as HammerTask);
