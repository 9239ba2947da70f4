import { LIVE, PENDING, type State } from "./layout.ts";
import type { Content } from "./pages.ts";

/** What an instance holds, however it is stored. */
export interface Described {
  readonly name: number;
  size: number;
  /** A snapshot. */
  readonly readOnly: boolean;
  /** Only an undelete brings it back. */
  readonly deleted: boolean;
  /** Content of every page by index. */
  readonly pages: Map<number, Content>;
  /** Value of every aligned run by index. */
  readonly runs: Map<number, number>;
}

/** What should be there: every instance as a full copy of its content. Knows nothing of claims. */
export interface ExpectedInstance extends Described {
  readonly volatile: Map<number, Content>;
  /** A pending save that shows what it does not change of the live instance of its name. */
  readonly over: boolean;
}

/** One text for one content: what a crash may leave is a set of such texts. */
export function describe(instances: readonly Described[]): string {
  const one = ({ name, size, readOnly, deleted, pages, runs }: Described): string => {
    const places = [...pages].map(([index, [first, second]]) => `${index}=${first}/${second}`);
    const heads = [...runs].map(([index, value]) => `run ${index}=${value}`);
    const kind = (deleted ? "deleted " : "") + (readOnly ? "snapshot " : "");
    return `${kind}${name} of ${size}: ${[...places, ...heads].sort().join(" ")}`;
  };
  return instances.map(one).sort().join("; ");
}

export class Expected {
  readonly live: Map<number, ExpectedInstance> = new Map();
  readonly pending: Map<number, ExpectedInstance> = new Map();
  /** In the order in which they were deleted. */
  deleted: ExpectedInstance[] = [];

  copy(): Expected {
    const copy = new Expected();
    for (const [name, instance] of this.live) copy.live.set(name, copyInstance(instance));
    for (const [name, instance] of this.pending) copy.pending.set(name, copyInstance(instance));
    copy.deleted = this.deleted.map((instance) => copyInstance(instance));
    return copy;
  }

  instance(name: number, state: State): ExpectedInstance | undefined {
    return (state === PENDING ? this.pending : this.live).get(name);
  }

  text(): string {
    return describe([...this.live.values(), ...this.deleted]);
  }

  /** A start drops what was not committed or not meant to last. */
  restart(): void {
    this.pending.clear();
    for (const instance of [...this.live.values(), ...this.deleted]) instance.volatile.clear();
  }

  create(name: number, size: number, state: State = LIVE): ExpectedInstance {
    return this.#place(emptyInstance(name, size), state);
  }

  publish(name: number): void {
    const instance = this.pending.get(name) as ExpectedInstance;
    this.pending.delete(name);
    // What a save stands on has become part of it.
    if (instance.over) this.live.delete(name);
    this.#place({ ...instance, over: false }, LIVE);
  }

  /** Whether a pending save stands on the live instance of a name: what it shows must not change. */
  isShared(name: number, state: State = LIVE): boolean {
    return state === LIVE && this.pending.get(name)?.over === true;
  }

  delete(name: number): void {
    const instance = this.live.get(name);
    if (instance === undefined) return;
    this.live.delete(name);
    this.deleted.push({ ...instance, deleted: true });
  }

  undelete(name: number): void {
    const last = this.deleted.findLastIndex((instance) => instance.name === name);
    const [instance] = this.deleted.splice(last, 1);
    this.live.set(name, { ...instance, deleted: false });
  }

  /** A full copy of a live instance under another name. */
  copyTo(from: number, to: number, change: { readOnly: boolean }): void {
    const instance = this.live.get(from) as ExpectedInstance;
    this.#place({ ...copyInstance(instance), ...change, name: to }, LIVE);
  }

  rename(from: number, to: number): void {
    const instance = this.live.get(from) as ExpectedInstance;
    this.live.delete(from);
    this.#place({ ...instance, name: to }, LIVE);
  }

  createOver(name: number, size: number): void {
    const pages = [...(this.live.get(name) as ExpectedInstance).pages].filter(([index]) => index < size);
    this.pending.set(name, { ...emptyInstance(name, size), pages: new Map(pages), over: true });
  }

  resize(name: number, size: number): void {
    const instance = this.live.get(name) as ExpectedInstance;
    instance.size = size;
    for (const places of [instance.pages, instance.runs, instance.volatile]) {
      for (const index of places.keys()) if (index >= size) places.delete(index);
    }
  }

  save(from: number, to: number): void {
    const source = this.live.get(from) as ExpectedInstance;
    this.#place({ ...copyInstance(source), name: to, volatile: new Map() }, LIVE);
    source.pages.clear();
    source.runs.clear();
  }

  /** What had the name is deleted. */
  #place(instance: ExpectedInstance, state: State): ExpectedInstance {
    if (state === LIVE) this.delete(instance.name);
    (state === PENDING ? this.pending : this.live).set(instance.name, instance);
    return instance;
  }
}

function emptyInstance(name: number, size: number): ExpectedInstance {
  const content = { pages: new Map(), runs: new Map(), volatile: new Map() };
  return { name, size, readOnly: false, deleted: false, over: false, ...content };
}

function copyInstance(instance: ExpectedInstance): ExpectedInstance {
  const { pages, runs, volatile } = instance;
  return { ...instance, pages: new Map(pages), runs: new Map(runs), volatile: new Map(volatile) };
}
