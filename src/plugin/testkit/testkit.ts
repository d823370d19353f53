/**
 * For tests of plugins: makes request views, response views and a node environment without a gateway.
 * Promise: what a plugin sees here is what the pipeline gives it: configuration is checked, then completed with
 * defaults; a changed consumer's credentials are no longer `current`. Time is a FakeClock, metrics are real.
 */
import { FakeClock } from "../../base/clock.ts";
import { CodedError } from "../../base/errors.ts";
import { labelText } from "../../base/metric-pages.ts";
import { type Metrics, openMetrics } from "../../base/metrics.ts";
import { compileSchema } from "../../base/schema/schema.ts";
import { withDefaults } from "../../base/schema/schema-defaults.ts";
import { type InternalApi, internalApisOf } from "../internal-api.ts";
import type {
  ClusterOnce,
  CompileEnv,
  NodeEnv,
  Plugin,
  PluginPhases,
  PluginSettings,
  ResourceInfo,
  Siblings,
} from "../plugin.ts";
import type { Answer } from "../plugin-answer.ts";
import type { Consumer, Credential, CredentialTable } from "../plugin-consumer.ts";
import type { RequestView } from "../request-view.ts";
import { NO_REVOCATIONS, type Revocations } from "../revocations.ts";
import { type AuthorizationServers, NO_SERVERS, NO_TOKENS, type Tokens } from "../tokens.ts";
import { NO_USES, type Uses } from "../uses.ts";
import { shownVariable, TokenPlaces } from "../variables/token-places.ts";
import { compileVariable } from "../variables/variables.ts";
import { type LogLine, recordingLog, TestStates, TestTable } from "./test-parts.ts";

/** A consumer as a test writes it: `auth` is plugin name → consumer-side configuration, references resolved. */
export interface ConsumerInput {
  readonly username: string;
  readonly groupId?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly auth?: Readonly<Record<string, unknown>>;
  readonly credentials?: readonly { readonly id: string; readonly auth: Readonly<Record<string, unknown>> }[];
}

export interface EnvInput {
  /** Further processes of the node. */
  readonly siblings?: Siblings;
  /** Default: the node has no store. */
  readonly clusterOnce?: ClusterOnce;
  /** The plugins that are loaded: those under test, those they compile, those consumers use. */
  readonly plugins?: readonly Plugin[];
  readonly consumers?: readonly ConsumerInput[];
  /** `route/1` → record. */
  readonly records?: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  /** Plugin name → metadata record. */
  readonly metadata?: Readonly<Record<string, unknown>>;
  readonly settings?: Partial<PluginSettings>;
  readonly resource?: ResourceInfo;
  readonly clock?: FakeClock;
  /** Default: nothing is revoked. */
  readonly revocations?: Revocations;
  /** Default: no issuers; `makeTokens` makes some. */
  readonly tokens?: Tokens;
  /** Default: no authorization servers. */
  readonly servers?: AuthorizationServers;
  /** Default: nothing is noted. */
  readonly uses?: Uses;
}

export interface TestEnv extends CompileEnv {
  readonly clock: FakeClock;
  readonly metrics: Metrics;
  /** Every line that was logged. */
  readonly logged: readonly LogLine[];
  /** Checks a configuration as the Admin API does, fills defaults, compiles. Throws CONFIG_INVALID with the error text. */
  compile(plugin: Plugin, conf?: unknown): PluginPhases;
  /** Adds or replaces a consumer; its former credentials stop being current. */
  setConsumer(consumer: ConsumerInput): void;
  removeConsumer(username: string): void;
  /** What a miss in that plugin's table finds to wait for; undefined again afterwards. */
  setPending(plugin: string, resolve: () => Promise<void>): void;
  /** How many shared states are held now. */
  readonly heldStates: number;
}

/** A node with these plugins and consumers; also the CompileEnv of one resource on it. */
export function makeEnv(input: EnvInput = {}): TestEnv {
  const clock = input.clock ?? new FakeClock();
  const logged: LogLine[] = [];
  const plugins = new Map((input.plugins ?? []).map((plugin) => [plugin.name, plugin]));
  const tables = new Map<string, TestTable>();
  const consumers = new Map<string, Consumer>();
  const states = new TestStates();
  let apis: ((path: string) => InternalApi | undefined) | undefined;

  const tableOf = (plugin: string): TestTable => {
    const known = tables.get(plugin) ?? new TestTable();
    tables.set(plugin, known);
    return known;
  };
  const removeConsumer = (username: string): void => {
    consumers.delete(username);
    for (const table of tables.values()) table.drop(username);
  };
  const addCredentials = (
    consumer: Consumer,
    id: string | undefined,
    auth: Readonly<Record<string, unknown>>,
  ): void => {
    for (const [name, conf] of Object.entries(auth)) {
      const definition = pluginOf(name).credential;
      if (!definition) throw new TypeError(`${name} is no authentication plugin`);
      const full = withDefaults<Record<string, unknown>>(definition.schema, conf);
      const error = compileSchema(definition.schema).check(conf) ?? definition.check?.(full);
      if (error !== undefined) throw new CodedError("RECORD_INVALID", { message: error });
      tableOf(name).add(consumer, id, String(full[definition.keyAttribute]), definition.compile(full, env));
    }
  };
  const pluginOf = (name: string): Plugin => {
    const plugin = plugins.get(name);
    if (!plugin) throw new CodedError("CONFIG_INVALID", { message: `unknown plugin [${name}]` });
    return plugin;
  };

  const compileIn = (within: CompileEnv, plugin: Plugin, conf: unknown): PluginPhases => {
    const full = withDefaults(plugin.schema, conf);
    const error = compileSchema(plugin.schema).check(conf) ?? plugin.check?.(full, (name) => plugins.get(name));
    if (error !== undefined) throw new CodedError("CONFIG_INVALID", { message: error });
    return plugin.compile(full, within);
  };

  const places = new TokenPlaces();
  const env: TestEnv = {
    clock,
    siblings: input.siblings,
    clusterOnce: input.clusterOnce,
    log: recordingLog(logged, {}),
    logged,
    metrics: openMetrics(),
    states,
    settings: { ...DEFAULT_SETTINGS, ...input.settings },
    revocations: input.revocations ?? NO_REVOCATIONS,
    tokens: input.tokens ?? NO_TOKENS,
    servers: input.servers ?? NO_SERVERS,
    uses: input.uses ?? NO_USES,
    resource: input.resource ?? { kind: "route", id: "r1" },
    // True: the plugin's own compile made the data; a test asks under the plugin's own name.
    credentials: <Data>(plugin: string) => tableOf(plugin) as CredentialTable<unknown> as CredentialTable<Data>,
    credentialsOf: <Data>(plugin: string, username: string) =>
      tableOf(plugin).of(username) as readonly Credential[] as readonly Credential<Data>[],
    consumer: (username) => consumers.get(username),
    consumerByCustomId(customId) {
      const [only, ...more] = [...consumers.values()].filter((one) => one.customId === customId);
      return more.length === 0 ? only : undefined;
    },
    record: (kind, id) => input.records?.[`${kind}/${id}`],
    metadata: (plugin) => input.metadata?.[plugin],
    shown: (name, read = compileVariable(name, clock)) => shownVariable(name, read, places),
    internalApi(path) {
      apis ??= internalApisOf([...plugins.values()].flatMap((plugin) => plugin.internalApis?.(env) ?? []));
      return apis(path);
    },
    plugin(name, conf, part) {
      const resource = part === undefined ? env.resource : { ...env.resource, part };
      return compileIn({ ...env, resource }, pluginOf(name), conf);
    },
    upstream: (choice) => Object.freeze({ ...choice }),
    compile: (plugin, conf = {}) => compileIn(env, plugin, conf),
    setConsumer(made) {
      removeConsumer(made.username);
      const labels = made.labels ?? {};
      const consumer: Consumer = Object.freeze({
        username: made.username,
        groupId: made.groupId,
        customId: labels["custom_id"],
        labels,
        usedIn: 0,
      });
      consumers.set(made.username, consumer);
      addCredentials(consumer, undefined, made.auth ?? {});
      for (const { id, auth } of made.credentials ?? []) addCredentials(consumer, id, auth);
    },
    removeConsumer,
    setPending: (plugin, resolve) => tableOf(plugin).setPending(resolve),
    get heldStates() {
      return states.size;
    },
  };
  for (const consumer of input.consumers ?? []) env.setConsumer(consumer);
  return env;
}

/** Runs rewrite, then access, as the pipeline does. @returns the answer that ended the request, if one did */
export async function runPhases(phases: PluginPhases, view: RequestView): Promise<Answer | undefined> {
  return (await phases.rewrite?.(view)) ?? (await phases.access?.(view));
}

/** The answer's body as text; "" where the gateway would put its own page. */
export function bodyText(answer: Answer | undefined): string {
  return answer?.body === undefined ? "" : answer.body.toString();
}

/** The first value of an answer's header, name compared without case. */
export function answerHeader(answer: Answer | undefined, lower: string): string | undefined {
  const lines = answer?.headers ?? [];
  for (let i = 0; i < lines.length; i += 2) if (lines[i]?.toLowerCase() === lower) return lines[i + 1];
  return undefined;
}

/** The value of one time series as a scrape shows it; undefined when it does not exist. */
export async function metricValue(
  env: NodeEnv,
  name: string,
  labels: Readonly<Record<string, string>> = {},
): Promise<number | undefined> {
  const wanted = Object.entries(labels).map(([label, value]) => labelText(label, value));
  for await (const page of env.metrics.pages()) {
    if (page.name !== name || page.bounds.length > 0) continue;
    const at = page.keys.findIndex((key) => wanted.every((label) => `,${key},`.includes(`,${label},`)));
    if (at >= 0) return page.values[at];
  }
  return undefined;
}

const DEFAULT_SETTINGS: PluginSettings = {
  compat: "default",
  serverName: "jotgate/test",
  environment: {},
  httpsPort: undefined,
  deniedAddresses: [],
  tokenCache: { entries: 50_000, bytes: 32 * 1024 * 1024 },
  prometheus: { exportUri: "/apisix/prometheus/metrics", buckets: [1, 2, 5, 10, 20, 50, 100, 1_000], metrics: {} },
};
