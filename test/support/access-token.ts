/**
 * A node with access-token, an issuer `idp` whose tokens are ES256 under `k1`, a consumer `shop`, and one-line calls.
 */
import { FakeClock } from "../../src/base/clock.ts";
import type { Plugin } from "../../src/plugin/plugin.ts";
import type { Answer } from "../../src/plugin/plugin-answer.ts";
import type { RequestView } from "../../src/plugin/request-view.ts";
import {
  type FakeIssuer,
  type FakeIssuerInput,
  type FakeTokens,
  makeTokens,
} from "../../src/plugin/testkit/fake-tokens.ts";
import {
  bodyText,
  type EnvInput,
  makeEnv,
  metricValue,
  runPhases,
  type TestEnv,
} from "../../src/plugin/testkit/testkit.ts";
import { makeView, type ViewInput } from "../../src/plugin/testkit/testkit-view.ts";
import { accessToken } from "../../src/plugins/access-token/access-token.ts";
import { keyOf, makeToken, type TokenInput } from "./jwt.ts";
import { openTestRevocations, type TestRevocations } from "./revocations.ts";

export const ISS = "https://idp.example";
export const API = "https://api.example";
export const NOW = 1_700_000_000;

export interface TokenNode {
  readonly env: TestEnv;
  readonly tokens: FakeTokens;
  readonly issuer: FakeIssuer;
  readonly revocations: TestRevocations;
  call(input: ViewInput): Promise<TokenCall>;
  callWith(token: string): Promise<TokenCall>;
  /** Another route of the same node. */
  route(conf?: Readonly<Record<string, unknown>>): (token: string) => Promise<TokenCall>;
  /** How often it ended so. */
  count(outcome: string): Promise<number>;
}

export interface TokenCall {
  /** 200: it went on. */
  readonly status: number;
  readonly body: string;
  /** The last word of the answer's reason; "" when it went on. */
  readonly why: string;
  readonly challenge: string | undefined;
  readonly answer: Answer | undefined;
  readonly view: RequestView;
}

export interface TokenNodeInput {
  readonly issuer?: Partial<FakeIssuerInput>;
  readonly route?: Readonly<Record<string, unknown>>;
  readonly consumers?: EnvInput["consumers"];
  readonly plugins?: readonly Plugin[];
  readonly settings?: EnvInput["settings"];
}

export const SHOP = {
  username: "shop",
  labels: { custom_id: "77" },
  credentials: [{ id: "web", auth: { "access-token": { identity: "idp/orders-service" } } }],
};

export const ROUTE = { issuers: ["idp"], audiences: [API] };

export function openTokenNode(input: TokenNodeInput = {}): TokenNode {
  const clock = new FakeClock();
  const revocations = openTestRevocations(clock);
  const tokens = makeTokens();
  const issuer = tokens.set({
    id: "idp",
    issuer: ISS,
    keys: [{ kid: "k1", algorithm: "ES256", key: keyOf("ES256").publicKey }],
    ...input.issuer,
  });
  const env = makeEnv({
    ...{ plugins: [accessToken, ...(input.plugins ?? [])], clock, tokens, revocations: revocations.live },
    consumers: input.consumers ?? [SHOP],
    ...(input.settings ? { settings: input.settings } : {}),
  });
  const open = (conf: Readonly<Record<string, unknown>> = {}) => {
    const phases = env.compile(accessToken, { ...ROUTE, ...conf });
    return async (made: ViewInput): Promise<TokenCall> => {
      const view = makeView(made);
      return described(await runPhases(phases, view), view);
    };
  };
  const call = open(input.route);
  return {
    ...{ env, tokens, issuer, revocations, call },
    callWith: (token) => call(bearing(token)),
    route(conf) {
      const other = open(conf);
      return (token) => other(bearing(token));
    },
    count: async (outcome) => (await metricValue(env, "jotgate_access_token_total", { outcome })) ?? 0,
  };
}

export function bearing(token: string): ViewInput {
  return { headers: { Authorization: `Bearer ${token}` } };
}

/** Claims that the node's route accepts, and what a test changes; undefined takes one away. */
export function claims(changed: Readonly<Record<string, unknown>> = {}): Record<string, unknown> {
  return { iss: ISS, aud: API, sub: "orders-service", iat: NOW - 10, exp: NOW + 300, ...changed };
}

/** A token of the issuer. */
export function tokenOf(changed: Readonly<Record<string, unknown>> = {}, input: TokenInput = {}): string {
  const { header = {}, ...rest } = input;
  const shown = typeof header === "string" ? header : { typ: "at+jwt", kid: "k1", ...header };
  return makeToken({ algorithm: "ES256", payload: claims(changed), header: shown, ...rest });
}

function described(answer: Answer | undefined, view: RequestView): TokenCall {
  const lines = answer?.headers ?? [];
  const at = lines.indexOf("WWW-Authenticate");
  return {
    status: answer?.status ?? 200,
    body: bodyText(answer).trimEnd(),
    why: answer?.reason.replace(/^access_token_/, "") ?? "",
    challenge: at < 0 ? undefined : lines[at + 1],
    ...{ answer, view },
  };
}
