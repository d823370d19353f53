/**
 * G2: a request sees exactly one revision. A route, its service, its upstream and a global rule carry the same number and
 * change in one transaction, written by etcd's own client; every answer shows all four.
 */
import { createServer, type Server } from "node:http";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type EtcdCluster, etcdAvailable, startEtcd } from "../support/etcd.ts";
import { etcdctlAvailable, putTogether } from "../support/etcdctl.ts";
import { reportFault } from "../support/fault-report.ts";
import { type LoadAnswer, startLoad } from "../support/load.ts";
import { allowTime, bounded } from "../support/long-run.ts";
import { type Node, startNode, until } from "../support/process.ts";

allowTime();

/** One upstream server per parity of the number. */
const upstreams: Server[] = [];
const ports: number[] = [];
let etcd: EtcdCluster;
const nodes: Node[] = [];

function records(n: number): Readonly<Record<string, unknown>> {
  const set = (name: string) => ({ headers: { set: { [name]: String(n) } } });
  return {
    "/apisix/routes/pair": { uri: "/pair/*", service_id: "pair", plugins: { "response-rewrite": set("X-Route") } },
    "/apisix/services/pair": { upstream_id: "pair", plugins: { "proxy-rewrite": set("X-Service") } },
    "/apisix/upstreams/pair": { type: "roundrobin", nodes: { [`127.0.0.1:${ports[n % 2]}`]: 1 } },
    "/apisix/global_rules/pair": { plugins: { "response-rewrite": set("X-Global") } },
  };
}

/** What an answer says of the four records. */
function numbers({ headers, body }: LoadAnswer): { all: readonly string[]; wrong: string | undefined } {
  const seen = JSON.parse(body) as { parity: number; service: string };
  const all = [String(headers["x-route"]), seen.service, String(headers["x-global"])];
  const same = new Set(all).size === 1 && Number(all[0]) % 2 === seen.parity;
  return {
    all,
    wrong: same ? undefined : `route ${all[0]}, service ${all[1]}, global ${all[2]}, upstream ${seen.parity}`,
  };
}

describe.skipIf(!etcdAvailable() || !etcdctlAvailable())("records that change together", () => {
  beforeAll(async () => {
    for (const parity of [0, 1]) {
      const server = createServer((request, response) =>
        response.end(JSON.stringify({ parity, service: request.headers["x-service"] ?? "" })),
      );
      server.keepAliveTimeout = 600_000;
      server.listen(0, "127.0.0.1");
      await new Promise((resolve) => server.once("listening", resolve));
      const address = server.address();
      ports[parity] = address !== null && typeof address === "object" ? address.port : 0;
      upstreams.push(server);
    }
    etcd = await startEtcd();
    await putTogether(etcd.endpoints, { "/apisix/jotgate/store": { id: "torn", epoch: 1 }, ...records(0) });
    const lanes = [[], ["--no-fast-lane"]];
    nodes.push(
      ...(await Promise.all(
        lanes.map((args) => startNode("gateway", { etcd: etcd.endpoints, args: ["--workers", "1", ...args] })),
      )),
    );
    for (const node of nodes) await until("the route", async () => (await fetch(`${node.gateway}/pair/x`)).ok);
  });

  afterAll(async () => {
    for (const node of nodes) await node.stop("SIGKILL");
    await etcd?.stop();
    for (const server of upstreams) server.close();
  });

  test("G2: on both lanes every answer shows one revision of all of them, however often they change", async () => {
    const seen = new Set<string>();
    const load = startLoad({
      targets: nodes.map((node, i) => ({ name: ["fast lane", "general lane"][i] ?? "", origin: node.gateway })),
      rate: bounded(200, 500),
      request: (n) => ({ path: `/pair/${n}` }),
      judge: (answer) => {
        if (answer.status !== 200) return `status ${answer.status}`;
        const { all, wrong } = numbers(answer);
        seen.add(all[0] ?? "");
        return wrong;
      },
    });
    const changes = bounded(60, 2_000);
    for (let n = 1; n <= changes; n++) await putTogether(etcd.endpoints, records(n));
    for (const node of nodes)
      await until("the last change", async () => {
        const answer = await fetch(`${node.gateway}/pair/end`);
        return answer.headers.get("x-route") === String(changes);
      });
    await load.stop();
    reportFault({
      fault: `changes of four records at once, ${changes} of them`,
      how: "etcdctl txn",
      ...{ sent: load.sent, failed: load.failed, freshMs: undefined, guarantees: "G1 G2", held: load.failed === 0 },
      note: `${seen.size} different revisions seen`,
    });
    expect(load.failures).toEqual([]);
    expect(seen.size).toBeGreaterThan(changes / 4);
  });
});
