// A reporter for `node --test`: one line a test (pass, fail or skip, and its name), for scripts/test.mjs to count.

export default async function* testEvents(source) {
  for await (const { type, data } of source) {
    if (type !== "test:pass" && type !== "test:fail") continue;
    // A suite, or a test with tests in it, stands for what is inside, which was counted.
    if (type === "test:pass" && data.details.type === "suite") continue;
    if (type === "test:fail" && data.details.error?.failureType === "subtestsFailed") continue;
    const passed = data.skip === undefined ? "pass" : "skip";
    yield `${type === "test:fail" ? "fail" : passed} ${data.name}\n`;
  }
}
