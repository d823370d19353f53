/**
 * `npm run faults`: the faults in their full length, then one table: fault, how it was injected, requests sent and failed,
 * time until all nodes are in step again, guarantee, and whether it held. Ends with 1 when one did not hold or did not run.
 * Further arguments go to vitest: a file, `-t NAME`; the table then has what ran. `--short` runs the form of `npm test`.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ELSEWHERE } from "./fault-catalogue.mjs";
import { faultTable } from "./fault-table.mjs";
import { has, ROOT, run } from "./project.mjs";

const given = process.argv.slice(2).filter((argument) => argument !== "--short");
const isShort = process.argv.includes("--short");
const folder = mkdtempSync(join(tmpdir(), "jotgate-faults-"));
const report = join(folder, "rows");
const results = join(folder, "results.json");
if (!has("etcd")) {
  console.error("the faults need etcd: apt-get install etcd-server etcd-client");
  process.exit(1);
}
try {
  const args = [join(ROOT, "node_modules/vitest/vitest.mjs"), "run", "--no-file-parallelism"];
  if (!isShort) args.push("--mode", "long");
  args.push("--reporter=default", "--reporter=json", `--outputFile.json=${results}`);
  const files = given.length > 0 ? given : ["test/faults", "test/guarantees", ...ELSEWHERE];
  const env = { ...process.env, FAULTS_REPORT: report, ...(isShort ? {} : { LONG_RUN: "1" }) };
  const code = await run(process.execPath, [...args, ...files], { env });
  const rows = existsSync(report)
    ? readFileSync(report, "utf8")
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line))
    : [];
  const { lines, held, count } = faultTable(rows, testsOf(results), given.length === 0);
  console.log(`\n${lines.join("\n")}\n\n${count} rows, ${held ? "all that ran held" : "NOT ALL HELD"}`);
  process.exitCode = code !== 0 || !held ? 1 : 0;
} finally {
  rmSync(folder, { recursive: true, force: true });
}

function testsOf(file) {
  if (!existsSync(file)) return [];
  const { testResults } = JSON.parse(readFileSync(file, "utf8"));
  return testResults.flatMap(({ assertionResults }) =>
    assertionResults.map(({ title, status }) => ({ title, status })),
  );
}
