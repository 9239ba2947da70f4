/**
 * Hazard: a system call that fails where nobody expects it. Each call of whole scenarios fails once, with every errno
 * that it may leave, and once together with all calls after it. What comes of it is an error of our table or nothing
 * at all; what was acknowledged is there, the rest is before or after; nothing is left open, mapped, locked or lying
 * about.
 */
import assert from "node:assert/strict";
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";
import { describe, type TestContext, test } from "node:test";
import { isPerdureError } from "../src/base/index.ts";
import { checkRegion } from "../src/index.ts";
import { Backing, MappedMemory, ownerIdentity } from "../src/memory/index.ts";
import { SystemCallError } from "../src/os/index.ts";
import { PageRegion, type RegionOptions } from "../src/region/index.ts";
import { Recording, RecordingMemory } from "../src/testing/index.ts";
import { checkImage } from "./crash/checker.ts";
import * as operations from "./crash/operations.ts";
import { World } from "./crash/world.ts";
import { memoryFolder } from "./support/cli.ts";
import { mountImage, requireRoot } from "./support/mounts.ts";
import { formattedImage, openCopy, refusal } from "./support/region.ts";
import { type CallName, effectsOf, harmless, held, intercept, plantFault } from "./support/system-faults.ts";

const PAGES = 400;
/** The calls that failed in some scenario. */
const failed = new Set<CallName>();

/** One run of a scenario: what is acknowledged so far, and what may be there besides. */
class Session {
  readonly path: string;
  #source: string;
  world: World;
  /** The worlds that may be found when it ends now. */
  allowed: string[];

  constructor(path: string, world: World) {
    this.path = path;
    this.#source = path;
    this.world = world;
    this.allowed = [world.text()];
  }

  /** The same session, by another name of the file. */
  of(source: string): this {
    this.#source = source;
    return this;
  }

  do(region: PageRegion, ...all: readonly operations.Operation[]): void {
    for (const { run, steps } of all) {
      const next = this.world.copy();
      for (const step of steps) {
        step(next);
        this.allowed.push(next.text());
      }
      run(region);
      this.world = next;
      this.allowed = [next.text()];
    }
  }

  /** Uses a region until its end. What fails half-way must have poisoned it. */
  async use(options: RegionOptions, act: (region: PageRegion) => void): Promise<void> {
    const region = await PageRegion.open(this.#source, options);
    try {
      act(region);
    } catch (error) {
      // A thin region asks for memory before its first store: without it the operation is refused, and that is all.
      const isRefused = isPerdureError(error, "ENOSPC") || isPerdureError(error, "ENODEV");
      if (isRefused && region.list().length >= 0) throw error;
      assert.ok(isPerdureError(error, "EIO"), `an operation that was under way fails with EIO: ${String(error)}`);
      if (!region.readOnly) assert.throws(() => region.list(), refusal("POISONED"));
      throw error;
    } finally {
      await region.close();
    }
  }
}

/** What is there before. */
interface Ground {
  readonly image: Uint8Array;
  readonly world: World;
}

interface Scenario {
  readonly name: string;
  readonly ground?: Ground;
  readonly run: (session: Session) => Promise<void>;
  /** Kept beside the scenario, and free of faults while it is called. */
  readonly beside?: (path: string) => Promise<Disposable>;
}

const firstSteps: readonly operations.Operation[] = [
  operations.create("ann", 300),
  operations.write("ann", 0, "both", 1),
  operations.diskWrite("ann", 1, 3, 2),
];
const laterSteps: readonly operations.Operation[] = [
  operations.write("ann", 0, 1, 3),
  operations.diskTrim("ann", 1, 3),
  operations.resize("ann", 350),
  operations.diskWrite("ann", 310, 2, 4),
  operations.create("bob", 20),
  operations.handOver("ann", 0, "bob", 3),
];

/** An image whose owner closed it, or died with a save under way and volatile pages. */
function groundOf(end: "closed" | "killed"): Ground {
  const { region, recording } = openCopy(formattedImage(PAGES));
  const session = new Session("", new World());
  session.do(region, ...firstSteps);
  if (end === "closed") region[Symbol.dispose]();
  else session.do(region, operations.ensureVolatile("ann", 9, 7), operations.createPending("cid", 9, "ann"));
  return { image: recording.image, world: session.world.reopened() };
}

function work(session: Session, options: RegionOptions, steps: readonly operations.Operation[]): Promise<void> {
  return session.use(options, (region) => {
    session.do(region, ...steps);
    region.sync();
  });
}

const closed = groundOf("closed");
const killed = groundOf("killed");

const scenarios: readonly Scenario[] = [
  {
    name: "create, work, close",
    run: (session) => work(session, { create: true, size: 512 * PAGES, pageSize: 512 }, firstSteps),
  },
  {
    name: "create a thin one, work, close, open it again",
    run: async (session) => {
      await work(session, { create: true, size: 512 * PAGES, pageSize: 512, thin: true }, firstSteps);
      await work(session, {}, [operations.write("ann", 5, "both", 6)]);
    },
  },
  { name: "open what was closed, work, close", ground: closed, run: (session) => work(session, {}, laterSteps) },
  { name: "open what a dead owner left, work, close", ground: killed, run: (session) => work(session, {}, laterSteps) },
  {
    name: "open an inherited descriptor, work, close",
    ground: closed,
    run: async (session) => {
      const fd = openSync(session.path, "r+");
      try {
        await work(session.of(`fd:${fd}`), {}, laterSteps.slice(0, 1));
      } finally {
        closeSync(fd);
      }
    },
  },
  {
    name: "read beside a writer",
    ground: closed,
    beside: (path) => PageRegion.open(path),
    run: (session) =>
      session.use({ readOnly: true }, (region) => {
        assert.equal(region.info().state, "open");
        assert.deepEqual(region.instance("crash", "ann").read(0), operations.filled(1));
      }),
  },
  {
    name: "check beside a writer",
    ground: killed,
    beside: (path) => PageRegion.open(path),
    run: async ({ path }) => void (await checkRegion(path)),
  },
  { name: "check what a dead owner left", ground: killed, run: async ({ path }) => void (await checkRegion(path)) },
  {
    name: "open durably, work, close",
    ground: killed,
    run: (session) => work(session, { durable: true }, laterSteps.slice(0, 3)),
  },
];

/** Runs a scenario with a fault and judges what comes of it. */
async function runWith(folder: string, scenario: Scenario, plant: () => Disposable): Promise<unknown> {
  for (const name of readdirSync(folder)) rmSync(join(folder, name), { recursive: true });
  const session = new Session(join(folder, "region"), scenario.ground?.world ?? new World());
  if (scenario.ground !== undefined) writeFileSync(session.path, scenario.ground.image, { mode: 0o600 });
  const beside = await scenario.beside?.(session.path);
  const before = held(folder);
  let error: unknown;
  {
    using _ = plant();
    error = await scenario.run(session).catch((thrown: unknown) => thrown);
  }
  if (error !== undefined) assert.ok(isPerdureError(error), `an error of our table, not ${(error as Error).stack}`);
  assert.deepEqual(held(folder), before, "nothing stays open or mapped");
  beside?.[Symbol.dispose]();
  await judge(folder, session, error);
  return error;
}

/** Looks at what is there, without any fault. */
async function judge(folder: string, session: Session, error: unknown): Promise<void> {
  const { path } = session;
  if (!existsSync(path)) {
    assert.ok(error !== undefined, "what was created is there");
    assert.equal(session.world.text(), new World().text(), "nothing was acknowledged");
    assert.deepEqual(readdirSync(folder), [], "nothing lies about");
    return;
  }
  assert.deepEqual(readdirSync(folder), ["region"], "nothing lies about");
  const next = new Recording(new Uint8Array(readFileSync(path)).slice());
  PageRegion.attach(new RecordingMemory(next));
  const { text } = checkImage(next.image);
  if (error === undefined) assert.equal(text, session.world.text(), "all that was acknowledged is there");
  else assert.ok(session.allowed.includes(text), `got\n${text}\nallowed\n${session.allowed.join("\nor\n")}`);
  // Nobody holds its lock any longer.
  await (await PageRegion.open(path)).close();
  assert.deepEqual((await checkRegion(path)).findings, []);
}

/** The calls of a scenario that goes well. */
async function callsOf(folder: string, scenario: Scenario): Promise<CallName[]> {
  const calls: CallName[] = [];
  const count = (): Disposable =>
    intercept((name, _nth, make) => {
      calls.push(name);
      return make();
    });
  // What a process reads of itself is read once only.
  ownerIdentity();
  assert.equal(await runWith(folder, scenario, count), undefined);
  return calls;
}

/** Lets every call fail in every way. */
async function failEverywhere(
  t: TestContext,
  folder: string,
  scenario: Scenario,
  isChosen: (name: CallName) => boolean = () => true,
): Promise<void> {
  const calls = await callsOf(folder, scenario);
  let faults = 0;
  for (const [k, name] of calls.entries()) {
    if (!isChosen(name)) continue;
    const single = effectsOf[name].map((effect) => ({ effect, sticky: false }));
    for (const { effect, sticky } of [...single, { effect: "EIO", sticky: true } as const]) {
      const context = `call ${k + 1} of ${calls.length}, ${name}: ${effect}${sticky ? " from there on" : ""}`;
      faults++;
      failed.add(name);
      try {
        const error = await runWith(folder, scenario, () => plantFault(k + 1, effect, sticky));
        if (harmless.has(effect)) assert.equal(error, undefined, "the call is made again");
      } catch (error) {
        throw new Error(`${context}: ${(error as Error).message}`, { cause: error });
      }
    }
  }
  t.diagnostic(`${calls.length} calls, ${faults} faults`);
}

describe("every system call may fail, in every way, in a region on tmpfs", () => {
  for (const scenario of scenarios) {
    test(scenario.name, async (t) => failEverywhere(t, memoryFolder(t), scenario));
  }
});

describe("every system call may fail, in every way, in a durable region on a disk", () => {
  const scenario: Scenario = {
    name: "create durably, work, close, open, work, close",
    run: async (session) => {
      const options = { durable: true, create: true, size: 512 * PAGES, pageSize: 512 };
      await work(session, options, firstSteps.slice(0, 2));
      await work(session, options, laterSteps.slice(0, 1));
    },
  };
  for (const kind of ["ext4", "xfs"] as const) {
    test(kind, async (t) => {
      const mount = mountImage(t, kind);
      if (mount === undefined) return;
      const folder = join(mount, "private");
      mkdirSync(folder, { mode: 0o700 });
      await failEverywhere(t, folder, scenario);
    });
  }
});

test("a signal that comes whenever much is allocated at once does not keep it from ending", (t) => {
  const path = join(memoryFolder(t), "region");
  const sizeBytes = 64 * 2 ** 20 + 4096;
  const allocated: number[] = [];
  using _ = intercept((name, _nth, make, args) => {
    if (name !== "fallocate") return make();
    const lengthBytes = args[2] as number;
    if (lengthBytes > 8 * 2 ** 20) throw new SystemCallError(name, constants.errno.EINTR);
    allocated.push(lengthBytes);
    return make();
  });
  using backing = Backing.create(path, sizeBytes);
  backing.publish();
  assert.equal(statSync(path).size, sizeBytes);
  assert.equal(statSync(path).blocks * 512, sizeBytes, "no hole is left between the parts");
  assert.equal(
    allocated.reduce((a, b) => a + b),
    sizeBytes,
  );
});

test("a second writer is told that the region is held, whatever fails while the holder is looked up", async (t) => {
  const path = join(memoryFolder(t), "region");
  const region = await PageRegion.open(path, { create: true, size: "1M" });
  const lookUps: readonly CallName[] = ["readFolder", "readText", "fstat"];
  for (const failing of lookUps) {
    failed.add(failing);
    let isLocked = false;
    using _ = intercept((name, _nth, make) => {
      isLocked ||= name === "fcntl";
      if (isLocked && name === failing) throw new SystemCallError(name, constants.errno.EMFILE);
      return make();
    });
    const before = held(path);
    await assert.rejects(PageRegion.open(path), { code: "LOCKED", message: /open for writing in another process/ });
    assert.deepEqual(held(path), before);
  }
  await assert.rejects(PageRegion.open(path), { code: "LOCKED", message: new RegExp(`in process ${process.pid}$`) });
  await region.close();
});

test("a memory of two files gives both up when the second one cannot be mapped", (t) => {
  const folder = memoryFolder(t);
  const before = held(folder);
  const backings = ["one", "two"].map((name) => Backing.create(join(folder, name), 65_536));
  using _ = plantFault(2, "ENOMEM");
  assert.throws(() => new MappedMemory(backings), refusal("ENOSPC"));
  assert.deepEqual(held(folder), before);
});

test("a process that cannot read what it is says so, and can the next time", async () => {
  // Under another name the module is loaded once more, and has read nothing yet.
  const fresh = String(new URL("../src/memory/owner-identity.js?fresh", import.meta.url));
  const { ownerIdentity: read } = (await import(fresh)) as { ownerIdentity: typeof ownerIdentity };
  for (const nth of [1, 2]) {
    using _ = plantFault(nth, "EMFILE");
    assert.throws(read, refusal("EBUSY"));
  }
  using _ = plantFault(1, "EINTR");
  assert.deepEqual(read(), ownerIdentity());
});

test("every call of the table has been made to fail", (t) => {
  // It is made on disks only.
  if (!requireRoot(t)) return;
  // A region gets another name when it is put aside: region-quarantine.test.ts.
  assert.deepEqual([...failed, "rename"].sort(), Object.keys(effectsOf).sort());
});
