import { describe, expect, test } from "vitest";
import { FakeClock } from "../../src/base/clock.ts";
import { type Progress, WorkerAdmission } from "../../src/node/workers/supervisor.ts";

const behind: Progress = { loaded: true, connected: true, applied: 7n };

/** Asks each second. @returns the second in which it was let in; undefined within two minutes */
function letIn(progress: Progress, wanted: bigint): number | undefined {
  const clock = new FakeClock();
  const admission = new WorkerAdmission(clock);
  for (let second = 0; second <= 120; second++) {
    if (admission.admits(progress, wanted)) return second;
    clock.advance(1_000);
  }
  return undefined;
}

describe("a new worker is let in", () => {
  test.each<[string, Progress, number | undefined]>([
    ["at once when it is as far as the node", { ...behind, applied: 9n }, 0],
    ["at once when it is further", { ...behind, applied: 10n, connected: false }, 0],
    ["late, when the store does not get it there", behind, 30],
    ["soon, when there is no store to catch up from", { ...behind, connected: false }, 3],
    ["never without a configuration", { ...behind, loaded: false, applied: 9n }, undefined],
  ])("%s", (_what, progress, second) => {
    expect(letIn(progress, 9n)).toBe(second);
  });

  test("soon after it has lost the store, however long it had been connected", () => {
    const clock = new FakeClock();
    const admission = new WorkerAdmission(clock);
    expect(admission.admits(behind, 9n)).toBe(false);
    clock.advance(20_000);
    expect(admission.admits(behind, 9n)).toBe(false);
    expect(admission.admits({ ...behind, connected: false }, 9n)).toBe(true);
  });
});
