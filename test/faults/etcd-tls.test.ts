/**
 * 27: an etcd over TLS whose certificate expires, is a stranger's, carries another name, or is replaced together with its
 * authority: G1, G12.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, test } from "vitest";
import { systemClock } from "../../src/base/clock.ts";
import { silentLog } from "../../src/base/log.ts";
import { openEtcdSource } from "../../src/store/etcd/etcd.ts";
import type { Store } from "../../src/store/store.ts";
import { type Authority, type IssueOptions, openAuthority } from "../support/authority.ts";
import { type EtcdCluster, etcdAvailable, startEtcd } from "../support/etcd.ts";
import { type Lone, openLone, seed } from "../support/lone.ts";
import { allowTime, bounded, slack } from "../support/long-run.ts";
import { temporaryFolder, until } from "../support/process.ts";
import { configOf } from "../support/scrape.ts";

allowTime();

const HOST = "IP:127.0.0.1";
const folder = temporaryFolder("etcd-tls");
const at = (name: string): string => join(folder, name);
const authorities: Authority[] = [];
let ours: Authority;
let etcd: EtcdCluster;
let store: Store;
let lone: Lone;

function authority(name: string): Authority {
  const made = openAuthority(name);
  authorities.push(made);
  return made;
}

/** What etcd presents from its next start on; clients of `authority` count. */
function present(from: Authority, name = HOST, options: IssueOptions = {}): void {
  const pair = from.issue([name], options);
  writeFileSync(at("server.pem"), pair.cert);
  writeFileSync(at("server.key"), pair.key);
  writeFileSync(at("clients.pem"), from.cert);
}

/** What the gateway, or this test, shows and believes. */
function equip(who: string, from: Authority): void {
  const pair = from.issue([HOST]);
  writeFileSync(at(`${who}.pem`), pair.cert);
  writeFileSync(at(`${who}.key`), pair.key);
  writeFileSync(at(`${who}-ca.pem`), from.cert);
}

function openStore(from: Authority): Store {
  const { cert, key } = from.issue([HOST]);
  const pem = { ca: Buffer.from(from.cert), cert: Buffer.from(cert), key: Buffer.from(key) };
  return openEtcdSource({ hosts: etcd.endpoints, clock: systemClock, log: silentLog, ...pem }).open();
}

describe.skipIf(!etcdAvailable())("an etcd over TLS", () => {
  beforeAll(async () => {
    ours = authority("ours");
    present(ours);
    equip("gateway", ours);
    etcd = await startEtcd({ tls: { ca: at("clients.pem"), cert: at("server.pem"), key: at("server.key") } });
    store = openStore(ours);
    await seed(store);
    const handle = new Proxy(store, {
      get(_, name) {
        const value: unknown = Reflect.get(store, name); // the present one: certificates change
        return typeof value === "function" ? value.bind(store) : value;
      },
    });
    const files = [
      "--etcd-ca",
      at("gateway-ca.pem"),
      "--etcd-cert",
      at("gateway.pem"),
      "--etcd-key",
      at("gateway.key"),
    ];
    lone = await openLone({ etcd: etcd.endpoints, args: files, store: handle, rate: bounded(50, 300) });
  });

  afterAll(async () => {
    await lone?.close();
    await store?.close();
    await etcd?.stop();
    for (const one of authorities) one.close();
  });

  test.each([
    { says: "expired", how: () => present(ours, HOST, { days: -1 }), reason: /expired/i },
    {
      says: "of another authority",
      how: () => present(authority("theirs")),
      reason: /self.signed|unable to verify|issuer|certificate/i,
    },
    {
      says: "of another name",
      how: () => present(ours, "DNS:elsewhere.test"),
      reason: /altname|does not match|elsewhere/i,
    },
  ])(
    "G1 G12: 27 a certificate that is $says: the node serves, gives the reason, and is back with the right one",
    async ({ says, how, reason }) => {
      let text = "";
      await lone.run({
        name: `27 etcd's certificate is ${says}`,
        how: "etcd started again with it",
        guarantees: "G1 G12",
        note: () => text.slice(0, 90),
        inject: async () => {
          how();
          await etcd.restart(0);
          await until(
            "the node gives the reason",
            async () => {
              text = (await configOf(lone.node)).store_problem?.text ?? "";
              return reason.test(text);
            },
            slack(15_000),
          );
          present(ours);
          await etcd.restart(0);
        },
      });
    },
  );

  test("G1 G12: 27 authority, certificates and keys are replaced on both sides: picked up without a restart", async () => {
    await lone.run({
      name: "27 authority and certificates replaced",
      how: "files written anew, etcd started again",
      guarantees: "G1 G12",
      inject: async () => {
        const next = authority("next");
        present(next);
        await etcd.restart(0);
        await until("the node cannot go on", async () => (await configOf(lone.node)).store_problem, slack(15_000));
        await store.close();
        store = openStore(next);
        equip("gateway", next);
      },
    });
  });
});
