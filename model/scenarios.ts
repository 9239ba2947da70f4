import { layerScenarios } from "./layer-scenarios.ts";
import { PENDING } from "./layout.ts";
import {
  at,
  creating,
  deleting,
  freeing,
  freeingRun,
  freeingVolatile,
  handingPage,
  keeping,
  type Operation,
  publishing,
  reading,
  resizing,
  saving,
  storing,
  writing,
  writingRun,
  writingVolatile,
} from "./operations.ts";

/** Two threads: what is there before, and what each does. */
export interface Scenario {
  readonly setup: readonly Operation[];
  readonly threads: readonly [readonly Operation[], readonly Operation[]];
  /** Leaves VOLATILE pages or pending instances, which the next start drops. */
  readonly transient?: true;
  /** The other thread is not interrupted inside an operation: several of its operations meet one of this thread. */
  readonly otherInOnePiece?: true;
}

const one = at(1);
const two = at(2);
const size = 300;

const pages = (...indices: number[]): Map<number, number> => new Map(indices.map((index) => [index, 10 + index]));
/** Two instances; the first has pages 0 and 255. */
const small: Operation[] = [storing(1, size, pages(0, 255)), storing(2, size, pages())];
/** The last free page below the mark is taken: the next allocation raises it. */
const atMark: Operation[] = [storing(1, size, pages(0, 1, 2, 3, 4, 5, 255))];
/** Every page is taken but `left`. */
const crowded = (left: number): Operation[] => {
  const directoryPages = 2;
  const count = 40 - directoryPages - 2 - left;
  const many = Array.from({ length: count }, (_, k) => k + 2);
  return [storing(1, size, pages(0, 255)), storing(2, size, pages(...many))];
};

/** Scenarios of two threads. */
export const scenarios: Readonly<Record<string, Scenario>> = {
  writeWrite: { setup: small, threads: [[writing(one, 0, 101)], [writing(one, 0, 102)]] },
  writeHalves: {
    setup: small,
    threads: [[writing(one, 0, 101, "first")], [writing(one, 0, 102, "second")]],
  },
  writeNew: { setup: small, threads: [[writing(one, 256, 101)], [writing(one, 256, 102)]] },
  writeWriteWrite: {
    setup: small,
    threads: [[writing(one, 0, 101), writing(one, 0, 103)], [writing(one, 0, 102)]],
  },
  writeFree: { setup: small, threads: [[writing(one, 0, 101)], [freeing(one, 0)]] },
  writeHalfFree: { setup: small, threads: [[writing(one, 0, 101, "first")], [freeing(one, 0)]] },
  writeHanded: { setup: small, threads: [[writing(one, 0, 101, "first")], [handingPage(1, 2, 0)]] },
  writeHandedTo: {
    setup: [...small, writing(two, 0, 8)],
    threads: [[writing(two, 0, 101)], [handingPage(1, 2, 0)]],
  },
  handHand: {
    setup: [...small, writing(two, 0, 8)],
    threads: [[handingPage(2, 1, 0)], [handingPage(1, 2, 0)]],
  },
  freeAlloc: {
    setup: crowded(1),
    threads: [[freeing(one, 0)], [writing(one, 256, 101), writing(two, 0, 102)]],
  },
  replaceAlloc: { setup: crowded(1), threads: [[writing(one, 0, 101)], [writing(two, 0, 102)]] },
  freeWriteWrite: {
    setup: crowded(2),
    threads: [[freeing(one, 0), writing(one, 0, 101)], [writing(one, 0, 102)]],
  },
  storeStoreFull: { setup: crowded(4), threads: [[storing(3, size, pages(0, 1))], [storing(4, size, pages(0, 1))]] },
  readWrite: { setup: small, threads: [[writing(one, 0, 101), writing(one, 256, 103)], [reading(one, 0)]] },
  readReuse: { setup: crowded(1), threads: [[writing(one, 0, 101), writing(two, 0, 103)], [reading(one, 0)]] },
  readFree: { setup: small, threads: [[freeing(one, 0)], [reading(one, 0), reading(one, 0)]] },
  readHanded: { setup: small, threads: [[handingPage(1, 2, 0), writing(one, 0, 101)], [reading(one, 0)]] },
  readDelete: { setup: small, threads: [[deleting(1)], [reading(one, 0), reading(one, 0)]] },
  readResize: { setup: small, threads: [[resizing(1, 200)], [reading(one, 255), reading(one, 255)]] },
  readStore: { setup: small, threads: [[storing(1, size, pages(1))], [reading(one, 0), reading(one, 1)]] },
  readSave: { setup: small, threads: [[saving(1, 2)], [reading(one, 0), reading(two, 0)]] },
  deleteWrite: { setup: small, threads: [[deleting(1)], [writing(one, 0, 101)]] },
  deleteStoreWrite: {
    setup: small,
    threads: [[deleting(1), storing(3, size, pages())], [writing(one, 256, 101)]],
  },
  deleteHanded: { setup: small, threads: [[deleting(2)], [handingPage(1, 2, 0)]] },
  createCreate: { setup: small, threads: [[creating(3, size)], [creating(4, size)]], transient: true },
  createSame: { setup: small, threads: [[creating(3, size)], [creating(3, size)]], transient: true },
  createPublish: { setup: small, threads: [[creating(3, size)], [publishing(3)]], transient: true },
  storeStore: { setup: small, threads: [[storing(3, size, pages(0))], [storing(4, size, pages(0))]] },
  storeSame: { setup: small, threads: [[storing(1, size, pages(1))], [storing(1, size, pages(2))]] },
  storeWrite: { setup: small, threads: [[storing(1, size, pages(1))], [writing(one, 0, 101)]] },
  pendingWritePublish: {
    setup: [...small, creating(3, size)],
    threads: [[writing(at(3, PENDING), 0, 101)], [publishing(3)]],
    transient: true,
  },
  saveWrite: { setup: small, threads: [[saving(1, 3)], [writing(one, 0, 101, "first")]] },
  saveHanded: { setup: small, threads: [[saving(1, 2)], [handingPage(2, 1, 0)]] },
  resizeWrite: { setup: small, threads: [[resizing(1, 200)], [writing(one, 255, 101)]] },
  resizeGrowWrite: {
    setup: small,
    threads: [[resizing(1, 200), resizing(1, size)], [writing(one, 255, 101, "first")]],
  },
  raiseRaise: { setup: atMark, threads: [[writing(one, 256, 101)], [writing(one, 0, 102)]] },
  raiseTwice: {
    setup: atMark,
    threads: [[writing(one, 256, 101)], [storing(2, size, pages(0, 1, 2, 3, 4, 5, 6, 7))]],
  },
  raiseFree: { setup: atMark, threads: [[writing(one, 256, 101)], [freeing(one, 1)]] },
  volatileKeep: {
    setup: [...small, writingVolatile(one, 255, 7)],
    threads: [[writingVolatile(one, 255, 101)], [keeping(one, 255)]],
    transient: true,
  },
  volatileDelete: {
    setup: [...small, writingVolatile(one, 5, 7)],
    threads: [[freeingVolatile(one, 5)], [deleting(1)]],
    transient: true,
  },
  runRun: {
    setup: [...small, writingRun(one, 16, 7)],
    threads: [[writingRun(one, 16, 101)], [writingRun(one, 16, 102)]],
  },
  runFree: {
    setup: [...small, writingRun(one, 16, 7)],
    threads: [[freeingRun(one, 16)], [writing(one, 0, 101), writing(one, 1, 103)]],
  },
  runDelete: { setup: [...small, writingRun(one, 16, 7)], threads: [[freeingRun(one, 16)], [deleting(1)]] },
  ...layerScenarios,
};
