/**
 * What single nodes refuse, by a plugin or a setting of theirs, is named in `refused` of a write that waits for all, whether
 * the node serves by one process or by workers.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Authority, openAuthority } from "../support/authority.ts";
import { type EtcdCluster, etcdAvailable, startEtcd } from "../support/etcd.ts";
import { freePort } from "../support/ports.ts";
import { admin, type Node, startNode, temporaryFolder } from "../support/process.ts";

const OWN_PLUGIN = `
export default {
  name: "own-guard", version: 1, priority: 100, schema: { type: "object" },
  compile: () => ({ access: () => undefined }),
};
`;

describe.skipIf(!etcdAvailable())("a write that one node refuses", () => {
  let etcd: EtcdCluster;
  let authority: Authority;
  let adminNode: Node;
  const variables: Record<string, string> = {};
  const nodes: Node[] = [];

  beforeAll(async () => {
    authority = openAuthority();
    etcd = await startEtcd();
    const plugin = join(temporaryFolder("own-guard"), "own-guard.mjs");
    writeFileSync(plugin, OWN_PLUGIN);
    const [good, other] = [authority.issue(["later.test"]), authority.issue(["later.test"])];
    Object.assign(variables, { LATER_CERT: good.cert, LATER_KEY: good.key, OTHER_KEY: other.key });
    const start = async (role: "admin" | "gateway", args: readonly string[], env = {}): Promise<Node> => {
      const node = await startNode(role, { etcd: etcd.endpoints, args, env });
      nodes.push(node);
      return node;
    };
    const tls = async (version: string) => [
      ...["--gateway-tls-listen", `127.0.0.1:${await freePort()}`],
      ...["--gateway-tls-min-version", version],
    ];
    adminNode = await start("admin", ["--plugins", plugin]);
    const all = { ...variables, ONLY_KEY: good.key };
    await start("gateway", ["--plugins", plugin, "--workers", "1", ...(await tls("TLSv1.2"))], all);
    const faulty = { ...variables, LATER_KEY: variables["OTHER_KEY"] };
    await start("gateway", ["--workers", "1", ...(await tls("TLSv1.3"))], faulty);
    await start("gateway", ["--workers", "2", ...(await tls("TLSv1.3"))], faulty);
  });

  afterAll(async () => {
    for (const node of nodes) await node.stop();
    await etcd?.stop();
    authority?.close();
  });

  const upstream = { nodes: { "127.0.0.1:9": 1 } };
  test.each<readonly [string, string, () => object, RegExp]>([
    [
      "a plugin that it does not have",
      "/routes/guarded",
      () => ({ uri: "/guarded", upstream, plugins: { "own-guard": {} } }),
      /^plugin own-guard is not loaded on this node: /,
    ],
    [
      "protocols that it does not offer",
      "/ssls/old",
      () => ({ ...authority.issue(["old.test"]), snis: ["old.test"], ssl_protocols: ["TLSv1.2"] }),
      /^ssl_protocols: none of TLSv1\.2 is allowed, the oldest accepted is TLSv1\.3$/,
    ],
    [
      "a key that a variable has there, of another certificate",
      "/ssls/later",
      () => ({ cert: "$env://LATER_CERT", key: "$env://LATER_KEY", snis: ["later.test"] }),
      /private key does not belong to the certificate/,
    ],
    [
      "a client certificate whose key is another's there",
      "/ssls/client",
      () => ({ type: "client", cert: "$env://LATER_CERT", key: "$env://LATER_KEY" }),
      /^client certificate: .*private key does not belong to the certificate/,
    ],
    [
      "a client certificate whose variable is not set there",
      "/ssls/unset",
      () => ({ type: "client", cert: "$env://LATER_CERT", key: "$env://ONLY_KEY" }),
      /^client certificate: unresolved: \$env:\/\/LATER_CERT, \$env:\/\/ONLY_KEY$/,
    ],
  ])("for %s", async (_says, path, body, reason) => {
    const answer = await admin(adminNode, "PUT", `${path}?wait=all&timeout=10s`, body());
    expect(answer.status, JSON.stringify(answer.body)).toBe(202);
    const { applied, refused, waiting, left } = answer.body as {
      applied: readonly string[];
      refused: readonly { node: string; key: string; reason: string }[];
      waiting: unknown;
      left: unknown;
    };
    expect([applied.length, waiting, left]).toEqual([1, [], []]);
    expect([new Set(refused.map(({ node }) => node)).size, refused.length]).toEqual([2, 2]);
    expect(refused.map(({ node }) => node)).not.toContain(applied[0]);
    for (const one of refused)
      expect(one).toMatchObject({ key: `/apisix${path}`, reason: expect.stringMatching(reason) });
  });

  test("what all serve is applied by all", async () => {
    const answer = await admin(adminNode, "PUT", "/routes/free?wait=all&timeout=10s", { uri: "/free", upstream });
    expect(answer).toMatchObject({ status: 201, body: { refused: [], waiting: [], left: [] } });
  });
});
