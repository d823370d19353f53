/**
 * etcd's own command-line client, for what must reach the store without any code of ours in between.
 */
import { execFile, spawnSync } from "node:child_process";

export function etcdctlAvailable(): boolean {
  return spawnSync("etcdctl", ["version"], { env: environment() }).status === 0;
}

/** @param input what is typed into it, such as the text of a transaction @returns its output; rejects when it fails */
export function etcdctl(
  endpoints: readonly string[],
  args: readonly string[],
  input?: string | Buffer,
): Promise<string> {
  return new Promise((resolve, reject) => {
    // Its own 2 and 5 seconds are little on a busy machine.
    const patient = ["--dial-timeout=30s", "--command-timeout=60s"];
    const all = [`--endpoints=${endpoints.join(",")}`, ...patient, ...args];
    const child = execFile("etcdctl", all, { env: environment(), timeout: 90_000 }, (error, stdout, stderr) => {
      if (error) reject(new Error(`etcdctl ${args[0]}: ${stderr || error.message}`));
      else resolve(stdout);
    });
    child.stdin?.on("error", () => {}); // it may end before it has read everything; its exit code says so
    child.stdin?.end(input ?? "");
  });
}

/** Puts all records in one transaction, which is one revision. Values must fit on a line. */
export async function putTogether(
  endpoints: readonly string[],
  records: Readonly<Record<string, unknown>>,
): Promise<void> {
  // Double quotes, read as Go reads them; single ones are cut wrongly by etcdctl 3.4.
  const quoted = (value: unknown): string => JSON.stringify(JSON.stringify(value));
  const puts = Object.entries(records).map(([key, value]) => `put ${key} ${quoted(value)}`);
  const said = await etcdctl(endpoints, ["txn"], `\n${puts.join("\n")}\n\n\n`);
  if (!said.startsWith("SUCCESS")) throw new Error(`etcdctl txn: ${said}`);
}

function environment(): NodeJS.ProcessEnv {
  return { ...process.env, ETCDCTL_API: "3" };
}
