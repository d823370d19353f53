/**
 * `npm run soak -- --minutes N` (default 10): mixed traffic, changes and faults for that long. Ends with 1 when anything failed.
 */
import { join } from "node:path";
import { parseArgs } from "node:util";
import { ROOT, run } from "./project.mjs";

const { values } = parseArgs({ options: { minutes: { type: "string", default: "10" }, seed: { type: "string" } } });
const env = { ...process.env, LONG_RUN: "1", SOAK_MINUTES: values.minutes, SEED: values.seed ?? "1" };
const vitest = join(ROOT, "node_modules/vitest/vitest.mjs");
process.exitCode = await run(process.execPath, [vitest, "run", "--project", "soak", "--mode", "long"], { env });
