// A process that changes a region as fast as it can, tells its parent of every operation that returned, and dies; at
// its n-th store it first says on descriptor 3 where that is.

import { readFileSync, writeSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Backing, MappedMemory, type Memory } from "../../src/memory/index.ts";
import { PageRegion } from "../../src/region/index.ts";
import { seeded } from "../../src/testing/index.ts";
import { choose, type Operation } from "../crash/operations.ts";
import { freshId, type ModelInstance, World } from "../crash/world.ts";

/** The path of this program. */
export const writerProgram: string = fileURLToPath(import.meta.url);
/** What it says for every operation that returned. */
export const ACKNOWLEDGED = 0x2b;

/** The operations of a life, in order; the same for the writer and for whoever judges it. */
export class Script {
  readonly world: World;
  readonly #random: ReturnType<typeof seeded>;
  #value: number;

  constructor(seed: number, world: World) {
    this.world = world;
    this.#random = seeded(seed);
    // Values of different lives differ, so that an older page is told from a newer one.
    this.#value = (seed % 1000) * 100_000;
  }

  next(): Operation {
    for (;;) {
      const operation = choose(this.#random, this.world, () => ++this.#value);
      if (operation !== undefined) return operation;
    }
  }
}

/** A world at rest as text: nothing in it is pending or volatile. */
export function worldToJson(world: World): string {
  const instances = Array.from(world.instances.values(), (one) => {
    return { ...one, pages: Array.from(one.pages), runs: Array.from(one.runs), volatile: undefined };
  });
  return JSON.stringify(instances);
}

type PlainInstance = Omit<ModelInstance, "pages" | "runs" | "volatile"> & {
  readonly pages: readonly [number, string][];
  readonly runs: readonly [number, number][];
};

/** The world of `worldToJson`. */
export function worldFromJson(json: string): World {
  const world = new World();
  for (const { pages, runs, ...plain } of JSON.parse(json) as PlainInstance[]) {
    const maps = { pages: new Map(pages), runs: new Map(runs), volatile: new Map() };
    // Numbers of another process may be given out again in this one, and two instances would be taken for one.
    world.instances.set(plain.name, { ...plain, ...maps, id: freshId() });
  }
  return world;
}

const STORES: ReadonlySet<PropertyKey> = new Set(["commit32", "commit64", "or32", "fill", "zero"]);

/** A memory that ends the process at its n-th store; of a bulk store, in the middle of it. */
function killingAt(memory: Memory, nth: number): Memory {
  let left = nth;
  const killBefore = (key: PropertyKey, args: readonly unknown[]): void => {
    if (!STORES.has(key)) return;
    left--;
    if (left !== 0) return;
    if (key === "fill") {
      const [offset, source] = args as [number, Uint8Array];
      memory.fill(offset, source.subarray(0, source.length >>> 1));
    }
    // Whoever watches may want to know where it was.
    writeSync(3, new Error("killed").stack ?? "");
    process.kill(process.pid, "SIGKILL");
  };
  return new Proxy(memory, {
    get(target, key) {
      const value: unknown = Reflect.get(target, key, target);
      if (typeof value !== "function") return value;
      return (...args: unknown[]): unknown => {
        killBefore(key, args);
        return value.apply(target, args);
      };
    },
  });
}

/** `child-writer PATH SEED NTH`: the world comes in as JSON; NTH 0 is a writer that somebody else kills. */
function main(path: string, seed: number, nth: number): void {
  const script = new Script(seed, worldFromJson(readFileSync(0, "utf8")));
  const mapped = new MappedMemory([Backing.open(path)]);
  const region = PageRegion.attach(nth === 0 ? mapped : killingAt(mapped, nth));
  writeSync(1, "!");
  for (;;) {
    const { run, steps } = script.next();
    run(region);
    for (const step of steps) step(script.world);
    writeSync(1, Buffer.of(ACKNOWLEDGED));
  }
}

if (process.argv[1] === writerProgram) main(process.argv[2], Number(process.argv[3]), Number(process.argv[4]));
