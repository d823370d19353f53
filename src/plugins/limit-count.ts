/**
 * limit-count: so many requests per window, counted by a key of the request, on this node or together through redis.
 * Promise: counters follow the configuration in its place, not the record's revision; a change elsewhere resets nothing.
 * Source: docs/spec/plugins.md section 6, APISIX 3.18. `sync_interval` is accepted: redis is asked for each request.
 */
import { type Static, Type } from "typebox";
import type { WindowCounters, WindowUse } from "../plugin/counters.ts";
import { type CompileEnv, Defaulted, definePlugin, type NodeEnv } from "../plugin/plugin.ts";
import type { Answer } from "../plugin/plugin-answer.ts";
import type { RequestView } from "../plugin/request-view.ts";
import type { ResponseView } from "../plugin/response-view.ts";
import { afterBody } from "../plugin/variables/body-variables.ts";
import { compileLimitAnswers } from "./limits/limit-answers.ts";
import { compileLimitKey, compileNumber, compileRuleKey } from "./limits/limit-key.ts";
import { backendRules, POLICIES } from "./limits/limit-schema.ts";
import { nodeCounters } from "./limits/local-counters.ts";
import type { RedisConf } from "./limits/redis.ts";
import { openRedisCounters } from "./limits/redis-counters.ts";
import { unlessRunElsewhere } from "./limits/run-elsewhere.ts";
import { isHeaderName } from "./shared/header-operations.ts";
import { canonicalText, confHash, NumberOrTemplate, RejectedMessage, scopeOf, Words } from "./shared/schema-parts.ts";

const WindowRuleConf = Type.Object({
  count: NumberOrTemplate(1),
  time_window: NumberOrTemplate(1),
  key: Type.String(),
  header_prefix: Type.Optional(Type.String({ description: "prefix for rate limit headers" })),
});

const schema = Type.Object(
  {
    count: Type.Optional(NumberOrTemplate(1)),
    time_window: Type.Optional(NumberOrTemplate(1)),
    window_type: Defaulted(Words(["fixed", "sliding"], { default: "fixed" })),
    rules: Type.Optional(Type.Array(WindowRuleConf)),
    group: Type.Optional(Type.String()),
    key: Defaulted(Type.String({ default: "remote_addr" })),
    key_type: Defaulted(Words(["var", "var_combination", "constant"], { default: "var" })),
    rejected_code: Defaulted(Type.Integer({ minimum: 200, maximum: 599, default: 503 })),
    rejected_msg: RejectedMessage,
    policy: Defaulted(Words([...POLICIES, "redis-sentinel"], { default: "local" })),
    allow_degradation: Defaulted(Type.Boolean({ default: false })),
    show_limit_quota_header: Defaulted(Type.Boolean({ default: true })),
    sync_interval: Defaulted(Type.Number({ default: -1 })),
  },
  {
    // One branch only: that both are there is said in other words, by `check`.
    oneOf: [{ anyOf: [{ required: ["count", "time_window"] }, { required: ["rules"] }] }],
    ...backendRules({}, true),
  },
);
type Conf = Static<typeof schema>;

const NAMES = {
  limit_header: "X-RateLimit-Limit",
  remaining_header: "X-RateLimit-Remaining",
  reset_header: "X-RateLimit-Reset",
} as const;

const limitCountMetadata = Type.Object({
  limit_header: Defaulted(Type.String({ default: NAMES.limit_header })),
  remaining_header: Defaulted(Type.String({ default: NAMES.remaining_header })),
  reset_header: Defaulted(Type.String({ default: NAMES.reset_header })),
});

export const limitCount = definePlugin({
  name: "limit-count",
  version: 0.5,
  priority: 1002,
  explain: { not: "it counts requests" },
  schema,
  metadataSchema: limitCountMetadata,
  encryptFields: ["redis_password", "sentinel_password"],
  check: (conf) => exclusionError(conf) ?? syncError(conf) ?? duplicateKeyError(conf),
  conflict: (conf, other) =>
    conf.group !== undefined && conf.group === other.group && limitText(conf) !== limitText(other)
      ? "group conf mismatched"
      : undefined,
  compile(conf, env) {
    const scope = conf.group === undefined ? scopeOf("limit-count", conf, env) : groupScope(conf.group, conf);
    // True: the schema requires the members of the chosen policy.
    const counters = conf.policy === "local" ? nodeCounters(env) : openRedisCounters(conf as RedisConf, env);
    const windows = counters.windows(scope);
    const answers = compileLimitAnswers("limit-count", conf, "failed to limit count", env.log);
    const rules = compileRules(conf, env);
    const quota = conf.show_limit_quota_header ? compileQuotaHeaders(`limit-count:${scope}`, env) : undefined;

    /** Goes on with the rules from `at`; waits only where a counter does. */
    const run = (view: RequestView, at: number, applied: number): Answer | undefined | Promise<Answer | undefined> => {
      let count = applied;
      for (let index = at; index < rules.length; index++) {
        const rule = rules[index] as CompiledRule;
        const hit = hitRule(rule, view, windows);
        if (hit === "unreadable") return answers.unreadable();
        if (hit === "skipped") continue;
        count++;
        if (hit.use instanceof Promise) return waitFor(view, rule, hit.limit, hit.use, index + 1, count);
        if (!settle(view, rule, hit.limit, hit.use)) return answers.rejected;
      }
      return count === 0 ? answers.unreadable() : undefined;
    };
    const waitFor = (
      view: RequestView,
      rule: CompiledRule,
      limit: number,
      use: Promise<WindowUse>,
      next: number,
      count: number,
    ) =>
      use.then(
        (done) => (settle(view, rule, limit, done) ? run(view, next, count) : answers.rejected),
        (error: unknown) => answers.failed(error),
      );
    const settle = (view: RequestView, rule: CompiledRule, limit: number, use: WindowUse): boolean => {
      quota?.note(view, rule.headerPrefix, limit, use);
      return use.allowed;
    };
    return {
      access: unlessRunElsewhere(
        "limit-count",
        env,
        afterBody(conf, (view) => run(view, 0, 0)),
      ),
      ...(quota ? { headerFilter: quota.write } : {}),
      close: () => windows.release(),
    };
  },
});

function exclusionError({ rules, count, time_window: window, group }: Conf): string | undefined {
  if (rules && (count !== undefined || window !== undefined))
    return "count/time_window and rules cannot be specified at the same time";
  return rules && group !== undefined ? "group and rules cannot be specified at the same time" : undefined;
}

function syncError({ policy, sync_interval: interval, time_window: window }: Conf): string | undefined {
  if (policy === "local" || interval === -1) return undefined;
  if (interval < 0.1) return "sync_interval should not be smaller than 0.1";
  return typeof window === "number" && interval >= window
    ? "sync_interval should be smaller than time_window"
    : undefined;
}

function duplicateKeyError({ rules }: Conf): string | undefined {
  const keys = (rules ?? []).map(({ key }) => key);
  const repeated = keys.find((key, at) => keys.indexOf(key) !== at);
  return repeated === undefined ? undefined : `duplicate key '${repeated}' in rules`;
}

/** All that must agree within a group. */
function limitText(conf: Conf): string {
  const { _meta, ...rest } = conf as Conf & { readonly _meta?: unknown };
  return canonicalText(rest);
}

function groupScope(group: string, conf: Conf): string {
  return `limit-count:group/${group}:${confHash(conf)}`;
}

interface CompiledRule {
  /** undefined: the rule does not apply to this request. */
  keyOf(view: RequestView): string | undefined;
  /** undefined: the request gives no number. */
  countOf(view: RequestView): number | undefined;
  windowOf(view: RequestView): number | undefined;
  readonly sliding: boolean;
  readonly headerPrefix: string | undefined;
}

function compileRules(conf: Conf, env: CompileEnv): readonly CompiledRule[] {
  const { clock } = env;
  const sliding = conf.window_type === "sliding";
  const numbers = (count: number | string, window: number | string) => ({
    countOf: compileNumber(count, 1, clock),
    windowOf: compileNumber(window, 1, clock),
    sliding,
  });
  if (conf.rules)
    return conf.rules.map((rule, at) => {
      const keyOf = compileRuleKey(rule.key, clock);
      return {
        ...numbers(rule.count, rule.time_window),
        keyOf(view) {
          const key = keyOf(view);
          return key === undefined ? undefined : `${at}:${key}`;
        },
        headerPrefix: rule.header_prefix ?? String(at + 1),
      };
    });
  const keyOf = compileLimitKey({ key: conf.key, keyType: conf.key_type }, clock);
  // The schema requires both numbers where there are no rules.
  return [{ ...numbers(conf.count ?? 1, conf.time_window ?? 1), keyOf, headerPrefix: undefined }];
}

type Hit = "skipped" | "unreadable" | { readonly limit: number; readonly use: WindowUse | Promise<WindowUse> };

function hitRule(rule: CompiledRule, view: RequestView, windows: WindowCounters): Hit {
  const key = rule.keyOf(view);
  if (key === undefined) return "skipped";
  const limit = rule.countOf(view);
  const window = rule.windowOf(view);
  if (limit === undefined || window === undefined) return "unreadable";
  return { limit, use: windows.hit(key, { limit, windowMs: window * 1000, sliding: rule.sliding }, 1) };
}

/**
 * The X-RateLimit-* headers of limit-count, whose names the plugin's metadata may change.
 * They go out with refused and accepted requests alike.
 */

type Names = Readonly<Record<keyof typeof NAMES, string>>;

interface Quota {
  readonly prefix: string | undefined;
  readonly limit: number;
  readonly use: WindowUse;
}

interface QuotaHeaders {
  /** Remembers what a rule said, to be written with the response. */
  note(view: RequestView, prefix: string | undefined, limit: number, use: WindowUse): void;
  write(view: RequestView, response: ResponseView): void;
}

/** @param name one per limit, so that two of them do not mix up their notes */
function compileQuotaHeaders(name: string, env: NodeEnv): QuotaHeaders {
  return {
    note(view, prefix, limit, use) {
      const quota: Quota = { prefix, limit, use };
      const before = view.note(name);
      if (Array.isArray(before)) before.push(quota);
      else view.setNote(name, [quota]);
    },
    write(view, response) {
      const quotas = view.note(name);
      if (!Array.isArray(quotas)) return;
      // True: metadata is checked against limitCountMetadata, with defaults filled.
      const names = (env.metadata("limit-count") as Names | undefined) ?? NAMES;
      for (const quota of quotas) writeQuota(quota as Quota, names, response);
    },
  };
}

function writeQuota({ prefix, limit, use }: Quota, names: Names, { headers }: ResponseView): void {
  const write = (base: string, value: number): void => {
    const name = prefixed(base, prefix);
    if (isHeaderName(name)) headers.set(name, String(value)); // the metadata may say anything
  };
  write(names.limit_header, limit);
  write(names.remaining_header, use.allowed ? use.remaining : 0);
  write(names.reset_header, Math.floor(use.resetMs / 10) / 100);
}

/** `X-RateLimit-Limit` of rule `1` is `X-1-RateLimit-Limit`. */
function prefixed(header: string, prefix: string | undefined): string {
  return prefix === undefined ? header : header.replace("RateLimit-", `${prefix}-RateLimit-`);
}
