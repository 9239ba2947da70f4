import { LIVE, PENDING, type State } from "./layout.ts";
import type { Content } from "./pages.ts";

/** What an instance holds, however it is stored. */
export interface Described {
  readonly name: number;
  size: number;
  /** Content of every page by index. */
  readonly pages: Map<number, Content>;
  /** Value of every aligned run by index. */
  readonly runs: Map<number, number>;
}

/** What should be there: every instance as a full copy of its content. Knows nothing of claims. */
export interface ExpectedInstance extends Described {
  readonly volatile: Map<number, Content>;
}

/** One text for one content: what a crash may leave is a set of such texts. */
export function describe(instances: readonly Described[]): string {
  const one = ({ name, size, pages, runs }: Described): string => {
    const places = [...pages].map(([index, [first, second]]) => `${index}=${first}/${second}`);
    const heads = [...runs].map(([index, value]) => `run ${index}=${value}`);
    return `${name} of ${size}: ${[...places, ...heads].sort().join(" ")}`;
  };
  return instances.map(one).sort().join("; ");
}

export class Expected {
  readonly live: Map<number, ExpectedInstance> = new Map();
  readonly pending: Map<number, ExpectedInstance> = new Map();

  copy(): Expected {
    const copy = new Expected();
    for (const [name, instance] of this.live) copy.live.set(name, copyInstance(instance));
    for (const [name, instance] of this.pending) copy.pending.set(name, copyInstance(instance));
    return copy;
  }

  instance(name: number, state: State): ExpectedInstance | undefined {
    return (state === PENDING ? this.pending : this.live).get(name);
  }

  text(): string {
    return describe([...this.live.values()]);
  }

  /** A start drops what was not committed or not meant to last. */
  restart(): void {
    this.pending.clear();
    for (const instance of this.live.values()) instance.volatile.clear();
  }

  create(name: number, size: number, state: State = LIVE): ExpectedInstance {
    const instance: ExpectedInstance = { name, size, pages: new Map(), runs: new Map(), volatile: new Map() };
    (state === PENDING ? this.pending : this.live).set(name, instance);
    return instance;
  }

  publish(name: number): void {
    this.live.set(name, this.pending.get(name) as ExpectedInstance);
    this.pending.delete(name);
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
    this.live.set(to, { ...copyInstance(source), name: to, volatile: new Map() });
    source.pages.clear();
    source.runs.clear();
  }
}

function copyInstance(instance: ExpectedInstance): ExpectedInstance {
  return {
    name: instance.name,
    size: instance.size,
    pages: new Map(instance.pages),
    runs: new Map(instance.runs),
    volatile: new Map(instance.volatile),
  };
}
