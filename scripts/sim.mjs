/**
 * `npm run sim`: 10,000 simulated lives of a small cluster. `-- --seeds N`, `-- --seed N` replays one, `-- --first N`.
 */
import { join } from "node:path";
import { parseArgs } from "node:util";
import { ROOT, run } from "./project.mjs";

const { values } = parseArgs({
  options: {
    seed: { type: "string" },
    seeds: { type: "string", default: "10000" },
    first: { type: "string", default: "1" },
  },
});
const env = {
  ...process.env,
  LONG_RUN: "1",
  SIM_FIRST: values.seed ?? values.first,
  SIM_SEEDS: values.seed === undefined ? values.seeds : "1",
};
const vitest = join(ROOT, "node_modules/vitest/vitest.mjs");
process.exitCode = await run(process.execPath, [vitest, "run", "--project", "sim", "--mode", "long"], { env });
