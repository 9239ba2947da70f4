/**
 * Planted mutants: each breaks one rule for stores of DESIGN section 3 (the list in docs/architecture.md) by changing
 * the compiled code in one place, and the crash tests must catch it. A mutant whose `find` is not there exactly once is
 * an error: the code has changed under it.
 */
import { layerMutants } from "./layer-mutants.ts";
import { stepMutants } from "./step-mutants.ts";

/** The crash test that must catch a mutant, with how many states it may take. */
export type MutantModel =
  | "kill"
  | "power"
  | "threads-kill"
  | "threads-power"
  | "layers-kill"
  | "layers-power"
  | "steps-kill";

export interface Mutant {
  readonly name: string;
  /** Which of the rules for stores it breaks; "recovery" where it breaks what opening promises. */
  readonly rule: string;
  /** File below src/, without its ending. */
  readonly file: string;
  readonly find: string;
  readonly replace: string;
  readonly model: MutantModel;
  /** The scenario over layers, or of steps, that must catch it; all of them when left out. */
  readonly scenario?: string;
  /** How often its schedule preempts a thread, where that is more than twice. */
  readonly preemptions?: number;
}

const frames = "region/frame-writer";
const pages = "region/page-operations";
const runs = "region/run-operations";
const records = "region/dual-record";
const recovery = "region/recover";

export const mutants: readonly Mutant[] = [
  {
    name: "a new page is claimed before its content is persisted",
    rule: "1",
    file: pages,
    find: `const durable = this.writer.persist(draft);
        this.writer.claim(durable, instance.owner, kindNumber, index, 0);`,
    replace: "const durable = draft; this.writer.claim(durable, instance.owner, kindNumber, index, 0);",
    model: "power",
  },
  {
    name: "a replaced page is claimed before its content is persisted",
    rule: "1",
    file: pages,
    find: `const durable = this.writer.persist(draft);
        this.writer.claim(durable, instance.owner, kind.data, index,`,
    replace: "const durable = draft; this.writer.claim(durable, instance.owner, kind.data, index,",
    model: "power",
  },
  {
    name: "a volatile page is kept without being persisted",
    rule: "1",
    file: pages,
    find: "const durable = this.writer.persist(page);",
    replace: "const durable = page;",
    model: "threads-power",
  },
  {
    name: "a new page is claimed before it is filled",
    rule: "1",
    file: pages,
    find: `const draft = this.#compose(this.writer.take(instance), shared, within, source);
                this.#publish(instance, table, kind.data, index, draft);`,
    replace: `this.#publish(instance, table, kind.data, index, this.writer.take(instance));
                this.writer.fill(table.get(index), source, within);`,
    model: "kill",
  },
  {
    name: "the loser is withdrawn before the winner is claimed",
    rule: "2",
    file: pages,
    find: "this.writer.claim(durable, instance.owner, kind.data, index, (this.writer.revision(old) + 1) & 3);",
    replace: `const revision = (this.writer.revision(old) + 1) & 3; this.writer.withdraw(old); this.writer.fence();
        this.writer.claim(durable, instance.owner, kind.data, index, revision);`,
    model: "kill",
  },
  {
    name: "the loser is withdrawn before the winner's claim is persisted",
    rule: "2",
    file: pages,
    find: `this.writer.fence();
        table.set(index, durable);
        this.writer.withdrawAndRelease(old);`,
    replace: "table.set(index, durable); this.writer.withdrawAndRelease(old);",
    model: "power",
  },
  {
    name: "a withdrawal is not persisted before it returns",
    rule: "2",
    file: pages,
    find: `this.writer.withdraw(page);
            this.writer.fence();`,
    replace: "this.writer.withdraw(page);",
    model: "power",
  },
  {
    name: "the loser of a replace is withdrawn without a persist",
    rule: "2",
    file: frames,
    find: `this.withdraw(page);
        this.fence();`,
    replace: "this.withdraw(page);",
    model: "threads-power",
  },
  {
    name: "a page is reused before it is withdrawn",
    rule: "2",
    file: pages,
    find: `this.writer.withdraw(page);
            this.writer.fence();`,
    replace: `this.#core.freePages.release(page); this.writer.withdraw(page); this.writer.fence();
            this.#core.freePages.take(page);`,
    model: "threads-kill",
  },
  {
    name: "the victim of a hand-over is withdrawn first",
    rule: "2",
    file: pages,
    find: "this.writer.claim(durable, to.instance.owner, to.kind, to.index, revision);",
    replace: `if (victim !== 0) { this.writer.withdraw(victim); this.writer.fence(); }
        this.writer.claim(durable, to.instance.owner, to.kind, to.index, revision);`,
    model: "kill",
  },
  {
    name: "the winner of a hand-over has the revision of its victim",
    rule: "2",
    file: pages,
    find: "(this.writer.revision(victim) + 1) & 3",
    replace: "this.writer.revision(victim)",
    model: "kill",
  },
  {
    name: "a replace keeps the revision",
    rule: "2",
    file: pages,
    find: "(this.writer.revision(old) + 1) & 3",
    replace: "this.writer.revision(old)",
    model: "kill",
  },
  {
    name: "the older revision wins",
    rule: "recovery",
    file: "region/read-directory",
    find: "step === 1 ? pageB : step === 3 ? pageA : 0",
    replace: "step === 1 ? pageA : step === 3 ? pageB : 0",
    model: "kill",
  },
  {
    name: "revisions are compared as plain numbers",
    rule: "recovery",
    file: "region/read-directory",
    find: "const step = (revisionOf(claimB) - revisionOf(claimA)) & 3;",
    replace: "const step = revisionOf(claimB) > revisionOf(claimA) ? 1 : 3;",
    model: "threads-kill",
  },
  {
    name: "index and claim are two stores",
    rule: "4",
    file: frames,
    find: "this.memory.commit64(offset, index, makeClaim(page, index, kindNumber, revision, owner));",
    replace: `this.memory.commit32(offset, index);
        this.memory.commit32(offset + 4, makeClaim(page, index, kindNumber, revision, owner));`,
    model: "kill",
  },
  {
    name: "a claim is a bulk write, which tears",
    rule: "4",
    file: frames,
    find: "this.memory.commit64(offset, index, makeClaim(page, index, kindNumber, revision, owner));",
    replace: `this.memory.fill(offset, new Uint8Array(
        new Uint32Array([index, makeClaim(page, index, kindNumber, revision, owner)]).buffer));`,
    model: "kill",
  },
  {
    name: "FREE is a zero",
    rule: "4",
    file: frames,
    find: "makeClaim(page, this.indexOf(page), kind.free, 0, 0)",
    replace: "0",
    model: "kill",
  },
  {
    name: "a record is written in one slot",
    rule: "3",
    file: records,
    find: "memory.fill(newer, encoded);",
    replace: "",
    model: "kill",
  },
  {
    name: "the slots of a record are written without a persist between",
    rule: "3",
    file: records,
    find: "persist(memory, older, encoded.length);",
    replace: "memory.flush(older, encoded.length);",
    model: "power",
  },
  {
    name: "the slot that counts is rewritten first",
    rule: "3",
    file: recovery,
    find: "analysis.stateLoser ?? stateSlots.a",
    replace: "stateSlots.a",
    model: "kill",
  },
  {
    name: "sequences restart at every open",
    rule: "3",
    file: "region/shared-parts",
    find: "words.sequence = sequence;",
    replace: "words.sequence = 0;",
    model: "kill",
  },
  {
    name: "an operation withdraws before it has taken what it needs",
    rule: "5",
    file: pages,
    find: `this.#refuseFixed(old);
            this.#replace(`,
    replace: `this.#refuseFixed(old);
            this.writer.withdraw(old); this.writer.fence();
            this.#replace(`,
    model: "kill",
  },
  {
    name: "the mark is raised before its entries are written",
    rule: "1",
    file: "region/state-record",
    find: `writeFreshEntries(memory, shape, from, end);
        writeState(`,
    replace: `writeState(memory, core, { marks: [end, ...core.state.marks.slice(1)] });
        writeFreshEntries(memory, shape, from, end);
        writeState(`,
    model: "threads-kill",
  },
  {
    name: "the entries below a raised mark are not persisted",
    rule: "1",
    file: "region/state-record",
    find: "persist(memory, shape.entryOffset(from), (end - from) * entryBytes);",
    replace: "",
    model: "threads-power",
  },
  {
    name: "pages of an instance are withdrawn before it is marked as deleting",
    rule: "2",
    file: "region/layer-operations",
    find: "this.directory.unname(instance, recordState.deleting);",
    replace: `Object.assign(instance.record, { state: recordState.deleting });
        for (const [key, one] of this.#writer.core.byName) if (one === instance) this.#writer.core.byName.delete(key);`,
    model: "kill",
  },
  {
    name: "a record ends before its pages",
    rule: "2",
    file: "region/merge",
    find: `this.#instances.withdrawAll(pages);
        this.#writer.core.addPages(layer, -layer.pages);
        this.#writer.core.owners.addMaskPages(layer.owner, -layer.maskPages);
        this.#directory.end(layer);`,
    replace: "this.#directory.end(layer); this.#instances.withdrawAll(pages);",
    model: "kill",
  },
  {
    name: "a shrink withdraws pages before it writes the size",
    rule: "2",
    file: "region/instance-operations",
    find: "this.#directory.update(instance, { sizeBytes, reach });",
    replace: "this.withdrawAll(pages); pages.length = 0; this.#directory.update(instance, { sizeBytes, reach });",
    model: "kill",
  },
  {
    name: "a run's head is claimed before its tails",
    rule: "1",
    file: runs,
    find: "const head = writer.persist(draft, length);",
    replace: `const head = writer.persist(draft, length);
        writer.claim(head, instance.owner, kind.data, index, 0); writer.fence();`,
    model: "kill",
  },
  {
    name: "a run's tails are not persisted before its head",
    rule: "1",
    file: runs,
    find: `kind.run, index + k, 0);
        writer.fence();`,
    replace: "kind.run, index + k, 0);",
    model: "threads-power",
  },
  {
    name: "a run's tails are withdrawn before its head",
    rule: "2",
    file: runs,
    find: "this.#writer.withdraw(run.page);",
    replace:
      "for (let k = 1; k < run.pages; k++) this.#writer.withdraw(run.page + k); this.#writer.withdraw(run.page);",
    model: "kill",
  },
  {
    name: "recovery keeps pending instances",
    rule: "recovery",
    file: "region/settle-layers",
    find: "instance.ends = true;",
    replace: "restate(instance, recordState.live, plan);",
    model: "kill",
  },
  {
    name: "recovery keeps pages beyond the size",
    rule: "recovery",
    file: "region/read-frames",
    find: "instance !== undefined && index < instance.limit",
    replace: "instance !== undefined && !instance.ends",
    model: "kill",
  },
  {
    name: "recovery frees what a save had taken",
    rule: "recovery",
    file: "region/read-frames",
    find: "if (source !== undefined && !source.ends && kindOf(claim) === kind.data) {",
    replace: "if (source === null) {",
    model: "kill",
  },
  {
    name: "recovery ends records before their pages",
    rule: "recovery",
    file: recovery,
    find: "giveBack(writer, analysis);",
    replace: "endRecords(memory, core, analysis); giveBack(writer, analysis);",
    model: "kill",
  },
  {
    name: "recovery does not heal records",
    rule: "recovery",
    file: recovery,
    find: "healRecords(memory, analysis);\n    restateRecords",
    replace: "restateRecords",
    model: "kill",
  },
  {
    name: "recovery builds on what was never flushed",
    rule: "2",
    file: recovery,
    find: "memory.flushAll();",
    replace: "",
    model: "power",
  },
  {
    name: "recovery frees pages while the state still says closed",
    rule: "recovery",
    file: recovery,
    find: "writeState(memory, core, opening.change, analysis.stateLoser ?? stateSlots.a);",
    replace: `freePages(new FrameWriter(memory, core, 1), analysis.plan.free.splice(0));
    writeState(memory, core, opening.change, analysis.stateLoser ?? stateSlots.a);`,
    model: "kill",
  },
  {
    name: "a close says so before its checksums are durable",
    rule: "2",
    file: "region/open-region",
    find: "persist(memory, shape.checksumsOffset, encoded.length);",
    replace: "",
    model: "power",
  },
  {
    name: "names have no locks",
    rule: "8",
    file: "region/locks",
    find: "if (found === 0)\n            return;",
    replace: "return;",
    model: "threads-kill",
  },
  {
    name: "operations do not drain before a delete or a resize",
    rule: "8",
    file: "region/locks",
    find: "if (inside === 0)",
    replace: "if (true)",
    model: "threads-kill",
  },
  {
    name: "operations enter an instance that is being deleted",
    rule: "8",
    file: "region/locks",
    find: "return closedBy;",
    replace: "return 0;",
    model: "threads-kill",
  },
  ...layerMutants,
  ...stepMutants,
];
