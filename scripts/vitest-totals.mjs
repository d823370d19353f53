/**
 * A reporter that writes what became of the tests, per file, as JSON to the file in VITEST_TOTALS.
 * A test that did not run because a hook before it failed is a failure; so is a file that could not be loaded, a hook
 * that failed without taking tests along, and an error that belongs to no test.
 */
import { writeFileSync } from "node:fs";

export default class Totals {
  onTestRunEnd(modules, unhandled) {
    const files = modules.map((module) => ({
      path: module.relativeModuleId,
      project: module.project.name,
      ...countOf(module, false),
    }));
    const sum = (name) => files.reduce((total, file) => total + file[name], 0);
    const totals = { passed: sum("passed"), failed: sum("failed") + unhandled.length, skipped: sum("skipped"), files };
    writeFileSync(process.env.VITEST_TOTALS, JSON.stringify(totals));
  }
}

/** @param around whether a hook around this group has failed */
function countOf(group, around) {
  const count = { passed: 0, failed: 0, skipped: 0 };
  const own = group.errors().length > 0;
  for (const child of group.children) {
    if (child.type === "test") count[outcomeOf(child, own || around)]++;
    else {
      const inner = countOf(child, own || around);
      for (const name of Object.keys(count)) count[name] += inner[name];
    }
  }
  if (own && count.failed === 0) count.failed++;
  return count;
}

function outcomeOf(test, broken) {
  const { state } = test.result();
  if (state === "passed" || state === "failed") return state;
  const meant = test.options.mode === "skip" || test.options.mode === "todo";
  return broken && !meant ? "failed" : "skipped";
}
