/**
 * A node with jwt-auth and one consumer `jack` whose key is `jack-key`, and one-line calls to it.
 */
import { FakeClock } from "../../src/base/clock.ts";
import type { Answer } from "../../src/plugin/plugin-answer.ts";
import type { RequestView } from "../../src/plugin/request-view.ts";
import { bodyText, type EnvInput, makeEnv, runPhases, type TestEnv } from "../../src/plugin/testkit/testkit.ts";
import { makeView, type ViewInput } from "../../src/plugin/testkit/testkit-view.ts";
import { jwtAuth } from "../../src/plugins/jwt-auth/jwt-auth.ts";
import { type AnyAlgorithm, keyOf } from "./jwt.ts";
import { openTestRevocations, type TestRevocations } from "./revocations.ts";

export interface JwtNode {
  readonly env: TestEnv;
  readonly revocations: TestRevocations;
  /** Replaces jack's consumer-side configuration. */
  jack(conf: Readonly<Record<string, unknown>>): void;
  /** One request; `status` 200 means that it went on. */
  call(input: ViewInput): Promise<Called>;
  /** One request with the token in the Authorization header. */
  callWith(token: string): Promise<Called>;
}

export interface Called {
  readonly status: number;
  /** The `message` of the answer; "" when the request went on. */
  readonly message: string;
  readonly answer: Answer | undefined;
  readonly view: RequestView;
}

export interface JwtNodeInput {
  readonly algorithm?: AnyAlgorithm;
  /** Members of jack's consumer-side configuration beside `key`, `algorithm` and the keys. */
  readonly jack?: Readonly<Record<string, unknown>>;
  readonly route?: Readonly<Record<string, unknown>>;
  readonly settings?: EnvInput["settings"];
}

export function openJwtNode(input: JwtNodeInput = {}): JwtNode {
  const plugin = jwtAuth;
  const clock = new FakeClock();
  const revocations = openTestRevocations(clock);
  const env = makeEnv({
    ...{ plugins: [plugin], clock, revocations: revocations.live },
    ...(input.settings ? { settings: input.settings } : {}),
  });
  const algorithm = input.algorithm ?? "HS256";
  const jack = (conf: Readonly<Record<string, unknown>>): void =>
    env.setConsumer({ username: "jack", auth: { "jwt-auth": { key: "jack-key", ...conf } } });
  jack({ algorithm, ...keyOf(algorithm).conf, ...input.jack });
  const phases = env.compile(plugin, input.route ?? {});
  const call = async (made: ViewInput): Promise<Called> => {
    const view = makeView(made);
    const answer = await runPhases(phases, view);
    const message = answer === undefined ? "" : (JSON.parse(bodyText(answer)) as { message: string }).message;
    return { status: answer?.status ?? 200, message, answer, view };
  };
  return { env, revocations, jack, call, callWith: (token) => call({ headers: { Authorization: token } }) };
}
