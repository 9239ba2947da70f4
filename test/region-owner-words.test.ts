/** Hazard: an owner number that is given out twice, or a gate that is another one in another thread. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { firstOwner, maxOwner } from "../src/region/layout.ts";
import { waiting } from "../src/region/locks.ts";
import { OwnerWords } from "../src/region/owner-words.ts";

const nothing = (): void => undefined;

test("a number is given out once, whichever thread asks", () => {
  const ours = new OwnerWords();
  const theirs = new OwnerWords(ours.share());
  const given: number[] = [];
  for (let k = 0; k < 3000; k++) {
    const words = k % 3 === 0 ? theirs : ours;
    const owner = words.firstUnused();
    words.use(owner);
    given.push(owner);
  }
  assert.deepEqual(
    given,
    Array.from({ length: 3000 }, (_, k) => firstOwner + k),
  );
});

test("counts and gates of an owner are the same in all threads", (t) => {
  const ours = new OwnerWords();
  ours.use(maxOwner);
  const theirs = new OwnerWords(ours.share());
  ours.addPages(maxOwner, 3);
  theirs.addPages(maxOwner, -1);
  assert.equal(ours.pages(maxOwner), 2);
  assert.equal(theirs.pages(maxOwner - 1), 0);
  ours.gate(maxOwner, nothing).close(1);
  const { wait } = waiting;
  t.after(() => {
    waiting.wait = wait;
  });
  waiting.wait = () => ours.gate(maxOwner, nothing).open();
  theirs.gate(maxOwner, nothing).enter();
  theirs.gate(maxOwner, nothing).leave();
});
