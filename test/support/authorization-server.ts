/** An authorization server of ours with its plugins, keys, clients and revocations, as plugins meet them; no gateway. */
import { FakeClock } from "../../src/base/clock.ts";
import type { KeyPairAlgorithm } from "../../src/base/jose/algorithms.ts";
import { makeKeyPem, readKeyPair } from "../../src/base/jose/key-pair.ts";
import type { AuthorizationServer } from "../../src/model/authorization-server-record.ts";
import type { ClusterOnce, Siblings } from "../../src/plugin/plugin.ts";
import type { Answer } from "../../src/plugin/plugin-answer.ts";
import { bodyText, type ConsumerInput, makeEnv, runPhases, type TestEnv } from "../../src/plugin/testkit/testkit.ts";
import { makeView, type ViewInput } from "../../src/plugin/testkit/testkit-view.ts";
import { accessToken } from "../../src/plugins/access-token/access-token.ts";
import { authorizationServer } from "../../src/plugins/authorization-server/authorization-server.ts";
import { oauth2Client } from "../../src/plugins/oauth2-client/oauth2-client.ts";
import { type LiveIssuers, openIssuers } from "../../src/token/issuers.ts";
import { NO_KEYS } from "../../src/token/key-feed.ts";
import { openSigningKeys, type SigningKeys } from "../../src/token/signing-keys.ts";
import { openTestRevocations, type TestRevocations } from "./revocations.ts";

export const NOW = 1_700_000_000;
export const ISSUER = "https://auth.example";
export const SECRET = "a-secret-of-more-than-32-characters-x";
export const pems = new Map<KeyPairAlgorithm, Promise<string>>();

export interface World {
  readonly env: TestEnv;
  readonly clock: FakeClock;
  readonly keys: SigningKeys;
  readonly revocations: TestRevocations;
  readonly issuers: LiveIssuers;
  ask(input: ViewInput): Promise<Answer>;
  /** POSTs a form to the token endpoint. */
  token(form: string, headers?: Record<string, string>): Promise<Answer>;
  /** POSTs a form to another of its endpoints. */
  post(path: string, form: string, headers?: Record<string, string>): Promise<Answer>;
}

export interface WorldInput {
  readonly server?: Partial<AuthorizationServer>;
  readonly client?: Readonly<Record<string, unknown>>;
  readonly algorithm?: KeyPairAlgorithm;
  readonly siblings?: Siblings;
  readonly clusterOnce?: ClusterOnce;
  /** Beside the consumer shop with its client batch. */
  readonly consumers?: readonly ConsumerInput[];
}

export async function openWorld({
  server,
  client,
  algorithm = "ES256",
  siblings,
  clusterOnce,
  consumers = [],
}: WorldInput = {}): Promise<World> {
  const clock = new FakeClock(NOW * 1_000);
  const keys = openSigningKeys(clock);
  const record = { issuer: ISSUER, algorithms: [algorithm], ...server };
  keys.setServer("main", record);
  const pem = await (pems.get(algorithm) ?? makeKeyPem(algorithm));
  pems.set(algorithm, Promise.resolve(pem));
  keys.setKey(`main/${readKeyPair(algorithm, pem).kid}`, { algorithm, private_key: pem, publish_at: NOW });
  const conf = { client_id: "batch", client_secret: SECRET, scope: "orders.read orders.write", audiences: AUDIENCES };
  const revocations = openTestRevocations(clock);
  const issuers = openIssuers(NO_KEYS, clock, keys);
  const env = makeEnv({
    ...{
      plugins: [authorizationServer, oauth2Client, accessToken],
      clock,
      servers: keys,
      revocations: revocations.live,
      tokens: issuers,
      ...(siblings && { siblings }),
      ...(clusterOnce && { clusterOnce }),
    },
    consumers: [
      { username: "shop", credentials: [{ id: "c1", auth: { "oauth2-client": { ...conf, ...client } } }] },
      ...consumers,
    ],
  });
  const phases = env.compile(authorizationServer, { id: "main" });
  const ask = async (input: ViewInput): Promise<Answer> => {
    const answer = await runPhases(phases, makeView(input));
    if (!answer) throw new Error("the request went on");
    return answer;
  };
  const post = (target: string, body: string, headers: Record<string, string> = basic("batch", SECRET)) =>
    ask({ method: "POST", target, headers: { "content-type": FORM, ...headers }, body });
  const token: World["token"] = (body, headers) => post("/oauth2/token", body, headers);
  return { env, clock, keys, revocations, issuers, ask, token, post };
}

export const AUDIENCES = ["https://api.example", "https://other.example"];
export const FORM = "application/x-www-form-urlencoded";
export const GRANT = "grant_type=client_credentials";
export const basic = (id: string, secret: string) => ({
  authorization: `Basic ${Buffer.from(`${id}:${secret}`).toString("base64")}`,
});
export const json = (answer: Answer): Record<string, unknown> => JSON.parse(bodyText(answer));
