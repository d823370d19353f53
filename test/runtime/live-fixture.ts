/** A live configuration without a store: the test writes records, as a watch would bring them. */
import { Type } from "typebox";
import { FakeClock } from "../../src/base/clock.ts";
import { type Log, silentLog } from "../../src/base/log.ts";
import { openMetrics } from "../../src/base/metrics.ts";
import { Defaulted, definePlugin, type Plugin, type PluginEntry } from "../../src/plugin/plugin.ts";
import { textAnswer } from "../../src/plugin/plugin-answer.ts";
import { makeView, type ViewInput } from "../../src/plugin/testkit/testkit-view.ts";
import { openLive } from "../../src/runtime/live.ts";
import type { LiveConfiguration, LiveOptions } from "../../src/runtime/live-configuration.ts";
import { openPluginRegistry } from "../../src/runtime/plugins/plugin-registry.ts";
import type { RouterMode } from "../../src/runtime/routes/router.ts";
import { openStates, type States } from "../../src/runtime/shared-states.ts";
import { openSecrets } from "../../src/secret/resolver.ts";
import type { Change } from "../../src/store/store.ts";
import { Table } from "../../src/sync/table.ts";
import { runPhase } from "./run-phase.ts";
import { openBench } from "./upstream-fixture.ts";

export interface WorldOptions {
  readonly mode?: RouterMode;
  readonly plugins?: readonly (Plugin | PluginEntry)[];
  readonly environment?: Readonly<Record<string, string>>;
  readonly log?: Log;
  readonly decrypt?: LiveOptions["decrypt"];
  readonly mayBeMissing?: LiveOptions["mayBeMissing"];
}

export interface World {
  readonly live: LiveConfiguration;
  readonly clock: FakeClock;
  readonly states: States;
  /** What Vault answers, path → data; a path that is not there is a 404. */
  readonly vault: Map<string, Record<string, string>>;
  /** Every question Vault was asked. */
  readonly asked: string[];
  /** Whether Vault answers at all. */
  vaultUp: boolean;
  /** Writes records (undefined deletes) as one revision. Keys are without the prefix. @returns what was refused */
  put(records: Readonly<Record<string, unknown>>): readonly string[] | undefined;
  /** The reasons of the problems of a record. */
  problemsOf(key: string): readonly string[];
  /** What a request meets: the route's id, what plugins noted, the answer. */
  ask(view: ViewInput, consumer?: string): Promise<Outcome>;
}

export interface Outcome {
  readonly route: string | undefined;
  readonly upstream: string | undefined;
  readonly notes: readonly string[];
  readonly status: number | undefined;
}

export function openWorld(options: WorldOptions = {}): World {
  const clock = new FakeClock();
  const metrics = openMetrics();
  const log = options.log ?? silentLog;
  const states = openStates(clock);
  const vault = new Map<string, Record<string, string>>();
  const asked: string[] = [];
  const created = new Map<string, bigint>();
  let revision = 0n;
  const secrets = openSecrets({
    environment: options.environment ?? {},
    clock,
    log,
    metrics,
    async fetch({ url }) {
      const path = new URL(url).pathname;
      asked.push(path);
      if (!world.vaultUp) throw new Error("connection refused");
      const data = vault.get(path);
      return { status: data ? 200 : 404, body: Buffer.from(JSON.stringify(data ? { data } : { errors: [] })) };
    },
  });
  const bench = openBench();
  const live = openLive({
    clock,
    log,
    metrics,
    states,
    settings: {
      compat: "default",
      serverName: "jotgate/test",
      environment: options.environment ?? {},
      httpsPort: undefined,
      deniedAddresses: [],
      tokenCache: { entries: 50_000, bytes: 32 * 1024 * 1024 },
      prometheus: { exportUri: "/metrics", buckets: [1], metrics: {} },
    },
    registry: openPluginRegistry(options.plugins ?? [mark, mark2, guard, keyPlugin, split]),
    secrets,
    upstreams: bench.upstreams,
    ...(options.mode ? { mode: options.mode } : {}),
    ...(options.mayBeMissing ? { mayBeMissing: options.mayBeMissing } : {}),
    ...(options.decrypt ? { decrypt: options.decrypt } : {}),
  });
  let refused: readonly string[] | undefined;
  const table = new Table({
    clock,
    consumer: {
      apply(batch, taken) {
        refused = live.apply(batch, taken);
        return refused;
      },
      forget: (key, record) => live.forget(key, record),
    },
  });
  bench.script.certificate = (id) => live.clientCertificate(id);

  const world: World = {
    live,
    clock,
    states,
    vault,
    asked,
    vaultUp: true,
    put(records) {
      revision++;
      const changes = Object.entries(records).map(([name, value]): Change => {
        const key = `/apisix/${name}`;
        if (value === undefined) {
          created.delete(key);
          return { type: "delete", key, kv: undefined };
        }
        const createRevision = created.get(key) ?? revision;
        created.set(key, createRevision);
        const bytes = Buffer.isBuffer(value)
          ? value
          : Buffer.from(typeof value === "string" ? value : JSON.stringify(value));
        return {
          type: "put",
          key,
          kv: { key, value: bytes, createRevision, modRevision: revision, version: 1n, lease: 0n },
        };
      });
      refused = undefined;
      table.apply(revision, changes);
      return refused;
    },
    problemsOf: (key) =>
      live
        .problems()
        .filter((problem) => problem.key === `/apisix/${key}`)
        .map((problem) => problem.reason),
    ask: (input, consumer) => askLive(live, input, consumer),
  };
  return world;
}

/** The phases as the gateway runs them. */
async function askLive(live: LiveConfiguration, input: ViewInput, username: string | undefined): Promise<Outcome> {
  const view = makeView(input);
  view.route = undefined;
  const notes: string[] = [];
  view.setNote("marks", notes);
  const matched = live.match(view);
  const global = live.globalPipeline(matched?.unit);
  view.route = matched?.facts;
  const outcome = (status: number | undefined, upstream?: string): Outcome => ({
    route: matched?.facts.id,
    upstream,
    notes,
    status,
  });
  const first = await runPhase(global.rewrite, view);
  if (first) return outcome(first.status);
  if (!matched) return outcome(404);
  if (matched.unit.broken) return outcome(matched.unit.broken);
  let pipeline = matched.unit.pipeline;
  const second = await runPhase(pipeline.toConsumer, view);
  if (second) return outcome(second.status);
  view.consumer ??= username === undefined ? undefined : live.env.consumer(username);
  if (view.consumer) {
    const merged = matched.unit.pipelineFor(view.consumer);
    if (merged === "group_missing") return outcome(503);
    pipeline = merged;
  }
  const third = await runPhase(pipeline.afterConsumer, view);
  if (third !== undefined) return outcome(third.status);
  const fourth = (await runPhase(global.access, view)) ?? (await runPhase(pipeline.access, view));
  if (fourth !== undefined) return outcome(fourth.status);
  for (const log of pipeline.log) log(view);
  const choice = matched.unit.upstream(view);
  if (choice.kind === "none") return outcome(503);
  if (choice.kind !== "upstream") return outcome(502);
  const target = choice.unit.start(view)?.next();
  return outcome(200, target instanceof Promise ? (await target)?.id : target?.id);
}

const MarkConf = Type.Object({
  text: Type.String({ minLength: 1 }),
  phase: Defaulted(Type.String({ default: "access" })),
});

function marker(name: string, priority: number): Plugin {
  return definePlugin({
    name,
    version: 1,
    priority,
    schema: MarkConf,
    metadataSchema: Type.Object({ suffix: Type.Optional(Type.String({ default: "" })) }),
    check: (conf) => (conf.text === "refuse" ? "refused by check" : undefined),
    compile(conf, env) {
      if (conf.text === "explode") throw new Error("cannot compile");
      const counter = env.states.hold(`${name} ${conf.text}`, () => ({ uses: 0 }));
      const { suffix = "" } = (env.metadata(name) ?? {}) as { suffix?: string };
      const note = (view: Parameters<NonNullable<ReturnType<Plugin["compile"]>["log"]>>[0]): undefined => {
        counter.state.uses++;
        (view.note("marks") as string[]).push(`${name}:${conf.text}${suffix}`);
        return undefined;
      };
      return { [conf.phase]: note, close: () => counter.release() };
    },
  });
}

export const mark = marker("mark", 100);
export const mark2 = marker("mark-two", 200);

/** Answers 403, or what it is told. */
export const guard = definePlugin({
  name: "guard",
  version: 1,
  priority: 300,
  preferRoute: true,
  schema: Type.Object({ status: Defaulted(Type.Integer({ default: 403 })) }),
  compile(conf) {
    const answer = textAnswer(conf.status, "no", "guarded");
    return { rewrite: () => answer };
  },
});

/** Sends requests where it is told to. */
export const split = definePlugin({
  name: "split",
  version: 1,
  priority: 50,
  schema: Type.Object({ id: Type.Optional(Type.String()), upstream: Type.Optional(Type.Unknown()) }),
  compile(conf, env) {
    const handle = env.upstream(conf.id === undefined ? { upstream: conf.upstream } : { upstreamId: conf.id });
    return {
      access(view) {
        view.upstreamChoice = handle;
        return undefined;
      },
    };
  },
});

/** Authenticates by the header `k`. */
export const keyPlugin = definePlugin({
  name: "key",
  version: 1,
  priority: 2500,
  schema: Type.Object({}),
  credential: {
    schema: Type.Object({ key: Type.String(), secret: Type.Optional(Type.String()) }),
    keyAttribute: "key",
    compile(conf) {
      if (conf.secret === "explode") throw new Error("cannot compile");
      return { secret: conf.secret };
    },
  },
  compile(_conf, env) {
    const table = env.credentials<{ secret: string | undefined }>("key");
    const missing = textAnswer(401, "who?", "key_missing");
    return {
      rewrite(view) {
        const key = view.header("k") ?? "";
        const finish = () => {
          const found = table.get(key);
          if (!found) return missing;
          view.consumer = found.consumer;
          view.credentialId = found.credentialId;
          (view.note("marks") as string[]).push(
            `${found.consumer.username}/${found.credentialId ?? ""}:${found.data.secret ?? ""}`,
          );
          return undefined;
        };
        const pending = table.get(key) ? undefined : table.resolvePending();
        return pending === undefined ? finish() : pending.then(finish);
      },
    };
  },
});
