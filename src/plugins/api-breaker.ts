/**
 * api-breaker: stops asking an upstream that keeps failing, per host and path, for 2, 4, 8 … seconds.
 * Promise: only answers of an upstream count, to whichever worker of the node they came; memory is bounded whatever paths are asked for.
 * Source: APISIX 3.18 api-breaker.
 */
import { type Static, Type } from "typebox";
import { type CompileEnv, Defaulted, definePlugin } from "../plugin/plugin.ts";
import type { RequestView } from "../plugin/request-view.ts";
import { type Ending, ExpiringMap } from "./shared/expiring-map.ts";
import { scopeOf } from "./shared/schema-parts.ts";
import { compileTemplatedAnswer } from "./shared/templated-answer.ts";

const statuses = (minimum: number, maximum: number, normal: number) =>
  Defaulted(Type.Array(Type.Integer({ minimum, maximum }), { minItems: 1, uniqueItems: true, default: [normal] }));

const schema = Type.Object({
  break_response_code: Type.Integer({ minimum: 200, maximum: 599 }),
  break_response_body: Type.Optional(Type.String()),
  break_response_headers: Type.Optional(
    Type.Array(Type.Object({ key: Type.String({ minLength: 1 }), value: Type.String({ minLength: 1 }) })),
  ),
  max_breaker_sec: Defaulted(Type.Integer({ minimum: 3, default: 300 })),
  unhealthy: Defaulted(
    Type.Object(
      {
        http_statuses: statuses(500, 599, 500),
        failures: Defaulted(Type.Integer({ minimum: 1, default: 3 })),
      },
      { default: { http_statuses: [500], failures: 3 } },
    ),
  ),
  healthy: Defaulted(
    Type.Object(
      {
        http_statuses: statuses(200, 499, 200),
        successes: Defaulted(Type.Integer({ minimum: 1, default: 3 })),
      },
      { default: { http_statuses: [200], successes: 3 } },
    ),
  ),
});

/** What is known of one host and path that has failed. */
interface Record extends Ending {
  failures: number;
  successes: number;
  /** When the failures last reached the limit, or a multiple of it; undefined before. */
  brokenAtMs: number | undefined;
}

const PATHS_MAX = 65_536;
const FORGET_MS = 24 * 3600 * 1000; // a failure this old says nothing any more

export const apiBreaker = definePlugin({
  name: "api-breaker",
  version: 0.1,
  priority: 1005,
  explain: { not: "it counts what the upstream answers" },
  schema,
  compile(conf, env) {
    const scope = scopeOf("api-breaker", conf, env);
    const held = env.states.hold(
      scope,
      () => openBreaker(conf, env, scope),
      (breaker) => breaker.others?.leave(),
    );
    const { records, count, others } = held.state;
    const { clock } = env;
    const unhealthy = new Set(conf.unhealthy.http_statuses);
    const healthy = new Set(conf.healthy.http_statuses);
    const headers =
      conf.break_response_body === undefined
        ? [] // as in APISIX, headers go only with a body
        : (conf.break_response_headers ?? []).map(({ key, value }) => [key, value] as const);
    const broken = compileTemplatedAnswer(
      { status: conf.break_response_code, headers, body: conf.break_response_body, plainBody: true },
      "breaker_open",
    );
    const breakMs = (failures: number): number =>
      1000 * Math.min(conf.max_breaker_sec, 2 ** Math.max(1, Math.floor(failures / conf.unhealthy.failures)));
    return {
      access(view) {
        const nowMs = clock.monotonicMs();
        const record = records.get(keyOf(view), nowMs);
        if (record?.brokenAtMs === undefined) return undefined;
        return nowMs <= record.brokenAtMs + breakMs(record.failures) ? broken(view) : undefined;
      },
      log(view) {
        const status = upstreamStatus(view);
        if (status === undefined) return;
        const key = keyOf(view);
        const failed = unhealthy.has(status);
        // A success matters only where something failed before.
        if (!failed && (!healthy.has(status) || !records.get(key, clock.monotonicMs()))) return;
        count(key, failed);
        others?.tell({ key, failed });
      },
      close: () => held.release(),
    };
  },
});

/** What this node knows of one configuration: each worker counts what it sees and what the others tell. */
function openBreaker(conf: Static<typeof schema>, { clock, siblings }: CompileEnv, scope: string) {
  const records = new ExpiringMap<Record>(PATHS_MAX);
  const fail = (key: string, known: Record | undefined, nowMs: number): void => {
    const record = known ?? { failures: 0, successes: 0, brokenAtMs: undefined, endMs: 0 };
    record.failures++;
    record.successes = 0;
    record.endMs = nowMs + FORGET_MS;
    if (record.failures % conf.unhealthy.failures === 0) record.brokenAtMs = nowMs;
    if (!known) records.set(key, record, nowMs);
  };
  const count = (key: string, failed: boolean): void => {
    const nowMs = clock.monotonicMs();
    const record = records.get(key, nowMs);
    if (failed) fail(key, record, nowMs);
    else if (record && ++record.successes >= conf.healthy.successes) records.delete(key);
  };
  const others = siblings?.join(scope, (message) => {
    const { key, failed } = message as { readonly key?: unknown; readonly failed?: unknown }; // checked here
    if (typeof key === "string" && typeof failed === "boolean") count(key, failed);
  });
  return { records, count, others };
}

function keyOf(view: RequestView): string {
  return view.host + view.path;
}

/** Status of the last try; what the gateway answered for it where none arrived; undefined when none was made. */
function upstreamStatus(view: RequestView): number | undefined {
  const last = view.upstream.statuses.at(-1);
  return last === 0 ? view.response?.status : last;
}
