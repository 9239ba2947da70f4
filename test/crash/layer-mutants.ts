/** Planted mutants of the operations on layers; see `mutants.ts`. */
import type { Mutant } from "./mutants.ts";

const merge = "region/merge";
const operations = "region/layer-operations";
const settle = "region/settle-layers";
const pages = "region/page-operations";
const masks = "region/masks";

export const layerMutants: readonly Mutant[] = [
  {
    name: "a snapshot does not name who succeeds it",
    rule: "recovery",
    file: operations,
    find: "successor: top.owner,",
    replace: "",
    model: "layers-kill",
    scenario: "snapshot against a write",
  },
  {
    name: "an open drops the top of a snapshot that was committed",
    rule: "recovery",
    file: settle,
    find: "if (isCommitted)",
    replace: "if (isCommitted && false)",
    model: "layers-kill",
    scenario: "snapshot against a write",
  },
  {
    name: "an open makes every pending layer live",
    rule: "recovery",
    file: settle,
    find: "if (isCommitted)",
    replace: "if (parent !== undefined)",
    model: "layers-kill",
    scenario: "the end of a save while the layer below it is purged",
  },
  {
    name: "the older of two of one name wins",
    rule: "recovery",
    file: settle,
    find: "other.record.sequence > record.sequence",
    replace: "other.record.sequence < record.sequence",
    model: "layers-kill",
    scenario: "promotion of a snapshot against a write",
  },
  {
    name: "what a save has replaced is kept under it as if it had been deleted",
    rule: "recovery",
    file: settle,
    find: "const isBelow = winner.record.parent === loser.owner;",
    replace: "const isBelow = false;",
    model: "layers-kill",
    scenario: "a save that is published against a clone of what is below",
  },
  {
    name: "an open does not store what it has decided about layers",
    rule: "recovery",
    file: "region/recover",
    find: "restateRecords(memory, core, analysis);\n    giveBack",
    replace: "giveBack",
    model: "layers-kill",
    scenario: "snapshot against a write",
  },
  {
    name: "a trim withdraws the page before it masks the one below",
    rule: "2",
    file: pages,
    find: `if (shared !== 0)
                this.#masks.set(instance, index);
            if (page === 0)
                return true;
            this.writer.withdraw(page);
            this.writer.fence();`,
    replace: `if (page !== 0) { this.writer.withdraw(page); this.writer.fence(); }
            if (shared !== 0) this.#masks.set(instance, index);
            if (page === 0) return true;`,
    model: "layers-kill",
    scenario: "a trim against a write",
  },
  {
    name: "a mask is not persisted before the trim returns",
    rule: "2",
    file: masks,
    find: `this.#writer.orMask(page, maskOf(index, masksPerPage));
        this.#writer.fence();`,
    replace: "this.#writer.orMask(page, maskOf(index, masksPerPage));",
    model: "layers-power",
    scenario: "snapshot against a trim",
  },
  {
    name: "a page of masks is claimed before its zeroes are persisted",
    rule: "1",
    file: masks,
    find: "const page = writer.persist(draft);",
    replace: "const page = draft;",
    model: "layers-power",
    scenario: "a merge into a layer against a trim of the one above",
  },
  {
    name: "pages of masks have no locks",
    rule: "8",
    file: masks,
    find: "withLock(words, stripe, writer.thread, () => {",
    replace: "((act) => act())(() => {",
    model: "layers-kill",
    scenario: "two first trims of a layer",
  },
  {
    name: "a shrink leaves the reach as it was",
    rule: "2",
    file: "region/instance-operations",
    find: "const reach = Math.min(instance.record.reach, limit);",
    replace: "const reach = instance.record.reach;",
    model: "layers-kill",
    scenario: "snapshot against a resize",
  },
  {
    name: "a merge hands masks over before claims",
    rule: "2",
    file: merge,
    find: `this.#moveClaims(layer, child, table * masksPerPage, end);
            if (masks.get(table) !== 0)
                this.#moveMask(layer, child, table);`,
    replace: `if (masks.get(table) !== 0)
                this.#moveMask(layer, child, table);
            this.#moveClaims(layer, child, table * masksPerPage, end);`,
    model: "layers-kill",
    scenario: "a merge that hands a mask over against a write above",
  },
  {
    name: "a merge hands over what the layer above has trimmed",
    rule: "2",
    file: merge,
    find: "if (own.get(index) !== 0 || this.#view.isMasked(child, index)) {",
    replace: "if (own.get(index) !== 0) {",
    model: "layers-kill",
    scenario: "a purge of the snapshot against a clone",
  },
  {
    name: "a merge does not persist the claims that it handed over before it goes on",
    rule: "2",
    file: merge,
    find: `writer.fence();
        this.#instances.withdrawAll(covered.map(`,
    replace: "this.#instances.withdrawAll(covered.map(",
    model: "layers-power",
    scenario: "a merge into what was smaller once",
  },
  {
    name: "a merge withdraws a mask before its bits are durable above",
    rule: "2",
    file: merge,
    find: `writer.orMask(present, { offset: 4 * k, bits });
        });
        writer.fence();`,
    replace: `writer.orMask(present, { offset: 4 * k, bits });
        });`,
    model: "layers-power",
    scenario: "a merge that joins two masks against a trim",
  },
  {
    name: "a merge forgets the reach of the layer above",
    rule: "2",
    file: merge,
    find: "this.#withdrawFrom(layer, child.record.reach);",
    replace: "",
    model: "layers-kill",
    scenario: "a merge into what was smaller once",
  },
  {
    name: "a merge forgets the reach of the layer that ends",
    rule: "2",
    file: merge,
    find: "const reach = Math.min(child.record.reach, layer.record.reach);",
    replace: "const reach = child.record.reach;",
    model: "layers-kill",
    scenario: "a merge of what was smaller once against a write",
  },
  {
    name: "a merge gives the layer above its new parent before its pages",
    rule: "2",
    file: merge,
    find: "this.#withdrawFrom(layer, child.record.reach);",
    replace: `this.#withdrawFrom(layer, child.record.reach);
        this.#directory.update(child, { parent: layer.parent?.owner ?? 0 });`,
    model: "layers-kill",
    scenario: "a purge of the snapshot against a clone",
  },
  {
    name: "a merge ends the layer before the one above has its new parent",
    rule: "2",
    file: merge,
    find: "const parent = layer.parent;\n        const reach",
    replace: "const parent = layer.parent; this.#directory.end(layer);\n        const reach",
    model: "layers-kill",
    scenario: "a purge of the snapshot against a clone",
  },
  {
    name: "a merge does not wait for operations on the layer above",
    rule: "8",
    file: merge,
    find: "this.#writer.drained(children[0], () => this.#mergeInto(layer, children[0]));",
    replace: "this.#mergeInto(layer, children[0]);",
    model: "layers-kill",
    scenario: "a merge against a write of its child",
  },
  {
    name: "trees of layers have no lock",
    rule: "8",
    file: operations,
    find: "this.#writer.locked(core.treeLock, 0, () => {",
    replace: "((act) => act())(() => {",
    model: "layers-kill",
    scenario: "a purge against a purge of what is below",
  },
];
