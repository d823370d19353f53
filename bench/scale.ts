/**
 * `npm run bench:scale`: what a table of any size costs one gateway: how long the first sync takes, the longest turn of its
 * event loop, resident bytes per record, CPU per change. `npm run bench` measures the same for its own three sizes.
 *
 *   npm run bench:scale -- [--consumers 100000] [--routes 10000]
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { bytesPerRecord } from "./aims.ts";
import { arrived } from "./case-parts.ts";
import { SMALL_TABLE, startOnTable, type Table } from "./cases-on-etcd.ts";
import { etcdMissing, openStore, startEtcd } from "./etcd.ts";
import { machine } from "./machine.ts";
import { tableLines } from "./report.ts";
import { ROOT, SECRET, startUpstream } from "./servers.ts";
import { deletionTurn, type TableFacts } from "./table-facts.ts";
import { signer } from "./tokens.ts";

const option = (name: string, fallback: number): number => {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? fallback : Number(process.argv[at + 1]);
};
const table: Table = {
  prefix: "/asked",
  routes: option("routes", 10_000),
  consumers: option("consumers", 100_000),
};

const missing = etcdMissing();
if (missing) {
  console.log(`${missing}: apt-get install -y etcd-server`);
  process.exit(1);
}
const folder = mkdtempSync(join(tmpdir(), "jotgate-scale-"));
const [etcd, upstream] = [await startEtcd(folder), await startUpstream(join(folder, "upstream"))];
const store = openStore(etcd);
try {
  const facts: TableFacts[] = [];
  const deletions: string[] = [];
  for (const one of [SMALL_TABLE, table]) {
    const own = mkdtempSync(join(folder, "gateway-"));
    const { server, facts: found } = await startOnTable(one, { etcd, store, upstream: upstream.url, folder: own });
    facts.push(found);
    // The last consumer reaches the last route.
    const exp = Math.floor(Date.now() / 1_000) + 600;
    const token = signer("HS256", `k${one.consumers - 1}`, SECRET).token({ exp });
    await arrived(server, `/many/${one.routes - 1}/x`, 200, token);
    const { deleted, ms } = await deletionTurn(server.status, store, one.prefix);
    deletions.push(`${deleted} consumers deleted in one revision: longest turn ${ms.toFixed(1)} ms.`);
    await server.stop();
    console.log(`  ${JSON.stringify(found)}`);
  }
  const perRecord = bytesPerRecord(facts[1], facts[0])?.toFixed(0);
  const text = [
    `${new Date().toISOString()}, ${machine().cpu}, Node ${machine().node}; one worker, etcd on the other core.`,
    "",
    ...tableLines(facts),
    "",
    `Resident bytes per record beyond the smaller table: ${perRecord}.`,
    "",
    ...deletions,
  ].join("\n");
  console.log(text);
  writeFileSync(join(ROOT, "bench/results/scale.md"), `${text}\n`);
} finally {
  await store.close();
  await upstream.stop();
  await etcd.stop();
  rmSync(folder, { recursive: true, force: true });
}
