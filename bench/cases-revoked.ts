/**
 * A gateway that knows a million revoked tokens beside its twin that knows none, under one known token.
 * Source: docs/spec/tokens.md section 16.
 */
import { arrived, bearer, roundrobin } from "./case-parts.ts";
import { etcdMissing, fill, openStore, startEtcd } from "./etcd.ts";
import { requestsFile } from "./request-lines.ts";
import { writeRevocations } from "./revoked-node.ts";
import type { Opened, Run, Series } from "./series.ts";
import { gatewayOn, SECRET } from "./servers.ts";
import { signer } from "./tokens.ts";

export const NONE_REVOKED = "none revoked";
export const MANY_REVOKED = "1M revoked";
const TWINS = [
  { name: NONE_REVOKED, prefix: "/free", revoked: 0 },
  { name: MANY_REVOKED, prefix: "/revoked", revoked: 1_000_000 },
] as const;

export const revoked: Series = {
  name: "revoked",
  cases: TWINS.map(({ name }) => name),
  quick: false,
  missing: etcdMissing,
  async open({ folder, upstream }): Promise<Opened> {
    const etcd = await startEtcd(folder);
    const store = openStore(etcd);
    const twin = ({ name, prefix, revoked: count }: (typeof TWINS)[number]): Run => {
      const kind = gatewayOn(etcd.url, prefix);
      return {
        case: name,
        kind: {
          ...kind,
          // First the records: a gateway below a prefix that nobody has written to yet is not ready.
          async start(to, own) {
            const plugins = { "jwt-auth": { key: "k0", secret: SECRET } };
            const route = { id: "r", uri: "/r/*", plugins: { "jwt-auth": {} }, upstream: roundrobin(upstream) };
            await fill(store, 1, () => ({ key: `${prefix}/consumers/c0`, value: { username: "c0", plugins } }));
            await fill(store, 1, () => ({ key: `${prefix}/routes/r`, value: route }));
            await writeRevocations(store, prefix, count);
            return kind.start(to, own);
          },
        },
        expect: { status: 200, tokens: "cached" },
        async prepare(server, _upstream, own) {
          const exp = Math.floor(Date.now() / 1_000) + 3_600;
          const token = signer("HS256", "k0", SECRET).token({ exp });
          await arrived(server, "/r/x", 200, `Bearer ${token}`);
          return requestsFile(own, "revoked", bearer([token], "/r/x"));
        },
      };
    };
    return {
      runs: TWINS.map(twin),
      async stop() {
        await store.close();
        await etcd.stop();
      },
    };
  },
};
