/**
 * Planted mutants that need two threads which take turns: in most of them one looks, then the other acts, then the
 * first goes on with what it saw. The searches in which a thread runs to its end at once miss them; see `mutants.ts`.
 */
import type { Mutant } from "./mutants.ts";

export const stepMutants: readonly Mutant[] = [
  {
    name: "a write looks its page up before it has the lock",
    rule: "8",
    file: "region/page-operations",
    find: `const stripe = this.#begin(instance, index);
        try {
            const table = instance.table(kind.data);
            const old = table.get(index);`,
    replace: `const table = instance.table(kind.data);
        const old = table.get(index);
        const stripe = this.#begin(instance, index);
        try {`,
    model: "steps-kill",
    scenario: "two writes of one page",
  },
  {
    name: "whether there is a page of masks is asked before its lock is taken",
    rule: "8",
    file: "region/masks",
    find: `return withLock(words, stripe, writer.thread, () => {
            const present = masks.get(table);`,
    replace: `const present = masks.get(table);
        return withLock(words, stripe, writer.thread, () => {`,
    model: "steps-kill",
    scenario: "two first trims of a layer",
  },
  {
    name: "whether another thread has made a chunk is not asked behind the lock",
    rule: "8",
    file: "region/page-table",
    find: `const present = table.startOf(chunk);
            if (present !== 0)
                return present;`,
    replace: "",
    model: "steps-kill",
    scenario: "two writes that are the first of their chunk",
  },
  {
    name: "a save that began meanwhile is not learnt of behind the lock of a page",
    rule: "8",
    file: "region/instance-state",
    find: `this.#core.catchUp();
        if (this.save === undefined)`,
    replace: "if (this.save === undefined)",
    model: "steps-kill",
    scenario: "a save that begins and takes a page against a write of it",
  },
  {
    name: "the top of a snapshot is not found before its record says live",
    rule: "8",
    file: "region/read-changes",
    find: "state.known.state !== recordState.live && !isSuccessor(core, state)",
    replace: "state.known.state !== recordState.live",
    model: "steps-kill",
    scenario: "snapshot against a write",
  },
  {
    name: "a look-up waits for an instance that has ended itself",
    rule: "8",
    file: "region/layer-view",
    find: `if (instance.isEnded)
                instance.refuseDeleted();`,
    replace: "",
    model: "steps-kill",
    scenario: "a read against a save that is published",
  },
  {
    name: "records that change while they are read are not read again",
    rule: "8",
    file: "region/core",
    find: `this.#catchUpWith(version);
            version = this.words.directoryVersion;`,
    replace: "this.#catchUpWith(version); break;",
    model: "steps-kill",
    scenario: "a read through layers against a merge",
    preemptions: 3,
  },
];
