/** How a conversation lets time pass: by the event loop, or by the loop of a thread that has none. */
export interface Clock {
  /** Calls back when what is being done now is done. */
  soon(act: () => void): void;
  /** Calls back after a time, unless it is cancelled by what is returned. */
  after(ms: number, act: () => void): () => void;
}

export const eventLoopClock: Clock = {
  soon: (act) => {
    setImmediate(act);
  },
  after: (ms, act) => {
    const timer = setTimeout(act, ms);
    return () => clearTimeout(timer);
  },
};

interface Timer {
  readonly atMs: number;
  readonly act: () => void;
}

/** Timers are looked at this often at most: what they bound is a second at least. */
const lookMs = 50;

/** The clock of a thread that asks it again and again. */
export class PolledClock implements Clock {
  #soon: (() => void)[] = [];
  readonly #timers: Set<Timer> = new Set();
  #lookAtMs = 0;

  soon(act: () => void): void {
    this.#soon.push(act);
  }

  after(ms: number, act: () => void): () => void {
    const timer: Timer = { atMs: performance.now() + ms, act };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }

  /** How long the thread may sleep, in ms. */
  get patienceMs(): number {
    if (this.#soon.length > 0) return 0;
    return this.#timers.size > 0 ? lookMs : Number.POSITIVE_INFINITY;
  }

  /** Calls back what is due. @returns whether there was any */
  run(): boolean {
    const soon = this.#soon;
    if (soon.length > 0) {
      this.#soon = [];
      for (const act of soon) act();
    }
    if (this.#timers.size === 0) return soon.length > 0;
    const now = performance.now();
    if (now < this.#lookAtMs) return soon.length > 0;
    this.#lookAtMs = now + lookMs;
    const due = [...this.#timers].filter(({ atMs }) => atMs <= now);
    for (const timer of due) if (this.#timers.delete(timer)) timer.act();
    return soon.length + due.length > 0;
  }
}
