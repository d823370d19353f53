/**
 * One compiled upstream: frozen facts, live nodes, and the plan by which requests choose among them.
 * Promise: `start` decides nothing that configuration, health or names have not decided before; state that must
 * outlive this configuration is held by key and given back at `close`.
 */
import type { Clock } from "../../base/clock.ts";
import { CodedError } from "../../base/errors.ts";
import { Limiter } from "../../base/limiter.ts";
import type { IpSet } from "../../base/net/ip.ts";
import type { StateRegistry } from "../../plugin/plugin.ts";
import type { RequestView } from "../../plugin/request-view.ts";
import { type BalancePlan, RequestAttempts, type RetryRules } from "./attempts.ts";
import { type BalanceRule, makeBalancePlan, makeBalanceRule } from "./balance/balance-plan.ts";
import type { Balancer, Choice } from "./balance/balancer.ts";
import type { Dns } from "./dns/dns.ts";
import type { DomainName } from "./dns/domain-name.ts";
import { type HealthConf, readChecks } from "./health/health-conf.ts";
import type { HealthCounter, HealthState, HealthStatus } from "./health/health-state.ts";
import { type HealthEnv, NodeHealth } from "./health/node-health.ts";
import { readScheme, readTargets, refuseDenied, type Scheme, type TargetSpec } from "./target-list.ts";
import type { UpstreamRecord } from "./upstream-record.ts";
import {
  type CertificatePair,
  digest,
  identityOf,
  readPool,
  readRetryRules,
  readTimeouts,
  readTls,
  speaksHttp2,
} from "./upstream-settings.ts";
import {
  type Attempts,
  type PoolSettings,
  type Timeouts,
  UpstreamNode,
  type UpstreamPreview,
  type UpstreamTls,
  type UpstreamUnit,
} from "./upstream-unit.ts";

/** Which record carries the upstream. */
export interface UpstreamIds {
  /**
   * The resource's key, e.g. "/apisix/upstreams/1", "/apisix/routes/5" for an inline one: owner of balancing and
   * passive health state, and name in `healthStatus`. Distinct for each upstream of one resource.
   */
  readonly key: string;
  /** Record id, "" for an inline upstream. */
  readonly id: string;
  readonly name: string;
}

/** Health of one upstream in the shape of APISIX's control API. */
export interface UpstreamHealth {
  readonly name: string;
  readonly type: "http" | "https" | "tcp";
  readonly nodes: readonly NodeStatus[];
}

interface NodeStatus {
  readonly ip: string;
  readonly port: number;
  readonly hostname: string;
  readonly status: HealthStatus;
  readonly counter: HealthCounter;
}

export interface UnitEnv extends HealthEnv {
  readonly clock: Clock;
  readonly states: StateRegistry;
  readonly dns: Dns;
  /** PEM texts of the client certificate in an ssl record, or why there are none; needed when units are compiled. */
  certificate(id: string): CertificatePair | string;
  readonly denied?: IpSet | undefined;
  /** Told of addresses that a name has no more. */
  readonly moved?: ((addresses: readonly string[]) => void) | undefined;
}

/** What a resource's checks hand on to the next version of the resource. */
interface Checking {
  /** A request has begun them. */
  isAwake: boolean;
  /** By target id. */
  states: ReadonlyMap<string, HealthState>;
}

export class LiveUpstreamUnit implements UpstreamUnit {
  readonly id: string;
  readonly key: string;
  readonly name: string;
  readonly scheme: Scheme;
  readonly http2: boolean;
  readonly passHost: "pass" | "node" | "rewrite";
  readonly upstreamHost: string;
  readonly timeouts: Timeouts;
  readonly pool: PoolSettings;
  readonly tls: UpstreamTls | undefined;
  readonly #env: UnitEnv;
  readonly #retries: RetryRules;
  readonly #checks: HealthConf | undefined;
  readonly #rule: BalanceRule;
  readonly #nodes: readonly UpstreamNode[];
  readonly #held = new Map<string, { readonly state: unknown; release(): void }>();
  readonly #endings: (() => void)[] = [];
  readonly #checking: Checking | undefined;
  readonly #onClose: (unit: LiveUpstreamUnit) => void;
  #plan: BalancePlan | undefined;
  #isStale = false;
  #isAwake = false;

  /** @throws CodedError CONFIG_INVALID for what the schema cannot know; nothing is held then */
  constructor(record: UpstreamRecord, ids: UpstreamIds, env: UnitEnv, onClose: (unit: LiveUpstreamUnit) => void) {
    this.#onClose = onClose;
    this.id = ids.id;
    this.key = ids.key;
    this.name = ids.name;
    this.#env = env;
    this.scheme = readScheme(record.scheme);
    this.http2 = speaksHttp2(this.scheme, record.http2);
    this.passHost = readPassHost(record);
    this.upstreamHost = record.upstream_host ?? "";
    this.timeouts = readTimeouts(record.timeout);
    this.tls = readTls(record.tls, this.scheme, env.certificate);
    this.pool = readPool(record.keepalive_pool, this.scheme, this.http2, this.tls);
    this.#checks = readChecks(record, this.http2);
    const specs = readTargets(record.nodes, this.scheme);
    refuseDenied(specs, env.denied);
    this.#retries = readRetryRules(record, specs.length);
    this.#rule = makeBalanceRule(record, specs.length, {
      clock: env.clock,
      random: env.random,
      owner: ids.key,
      hold: (key, make) => this.#hold(key, make),
    });
    // From here on nothing throws: what is held is released by close.
    this.#checking =
      this.#checks && this.#hold(`upstream:checking:${ids.key}`, () => ({ isAwake: false, states: new Map() }));
    const checksText = JSON.stringify([record.checks, this.#checks?.probe.host, this.http2, identityOf(this.tls)]);
    this.#nodes = specs.map((spec) => this.#makeNode(spec, checksText));
    this.#isAwake = this.#endings.length === 0;
    this.#goOn();
    this.#plan = makeBalancePlan(this.#nodes, this.#rule);
  }

  start(view: RequestView): Attempts | undefined {
    if (this.#isStale) this.#replan();
    if (!this.#isAwake) this.#wake();
    return this.#plan && new RequestAttempts(view, this.#plan, this.#retries, this.#env.clock);
  }

  preview(view: RequestView): UpstreamPreview | undefined {
    if (this.#isStale) this.#replan();
    const plan = this.#plan;
    if (!plan) return undefined;
    const choice = { view, anyTried: false, isTried: () => false, ringAt: -1 };
    const nodes = this.#nodes.map(({ id, weight, priority, isHealthy }) => ({
      ...{ node: id, weight, priority, healthy: isHealthy },
    }));
    return { next: (plan.only ?? peek(plan.groups[0], choice))?.id, nodes };
  }

  /** Health of the nodes; undefined without checks, or before the first request. */
  health(): UpstreamHealth | undefined {
    if (!this.#checks || !this.#isAwake) return undefined;
    const nodes: NodeStatus[] = [];
    for (const { health, address, spec } of this.#nodes) {
      if (!health) continue;
      const { status, counter } = health.state;
      const hostname = this.#checks.probe.host ?? spec.host;
      nodes.push({ ip: address, port: health.port, hostname, status, counter });
    }
    return { name: this.key, type: this.#checks.probe.type, nodes };
  }

  /** Targets with checks and whether they may have traffic, for metrics. */
  targets(): readonly { readonly id: string; readonly isHealthy: boolean }[] {
    return this.#checks && this.#isAwake ? this.#nodes : [];
  }

  /** Addresses that requests may have gone to. */
  addresses(): readonly string[] {
    return this.#nodes.flatMap((node) => node.addresses());
  }

  /** Gives shared state back; requests under way may finish. Closing twice is fine. */
  close(): void {
    for (const end of this.#endings.splice(0)) end();
    for (const held of this.#held.values()) held.release();
    this.#held.clear();
    this.#onClose(this);
  }

  #replan(): void {
    this.#isStale = false;
    this.#plan = makeBalancePlan(this.#nodes, this.#rule);
  }

  /** Checks that ran go on, whatever has changed, with what they know of the targets that stay. */
  #goOn(): void {
    const checking = this.#checking;
    if (!checking) return;
    checking.states = new Map(this.#nodes.flatMap(({ id, health }) => (health ? [[id, health.state]] : [])));
    if (checking.isAwake && !this.#isAwake) this.#wake();
  }

  #wake(): void {
    this.#isAwake = true;
    if (this.#checking) this.#checking.isAwake = true;
    for (const node of this.#nodes) {
      const sleep = node.wake();
      if (sleep) this.#endings.push(sleep);
    }
  }

  #makeNode(spec: TargetSpec, checksText: string): UpstreamNode {
    const name = spec.isName ? this.#openName(spec) : undefined;
    const health = this.#checks && this.#openHealth(spec, this.#checks, checksText);
    const load = this.#rule.load(spec);
    return new UpstreamNode(spec, { name, health, load, moved: this.#env.moved }, this.#env.random);
  }

  #openName(spec: TargetSpec): DomainName {
    // A state like others: what is known of a name must not be lost between two configurations.
    const { name } = this.#hold(
      `upstream:name:${spec.host.toLowerCase()}`,
      () => this.#env.dns.open(spec.host),
      (state) => state.release(),
    );
    this.#endings.push(name.onAvailabilityChange(this.#makeStale));
    return name;
  }

  #openHealth(spec: TargetSpec, conf: HealthConf, checksText: string): NodeHealth {
    // Probes see the same for everybody; how requests end is a matter of the resource they belong to.
    const owner = `${conf.passive ? this.key : ""}:${digest(checksText)}`;
    const limiter = this.#hold(`upstream:probes:${owner}`, () => new Limiter(conf.concurrency));
    const topic = `upstream:health:${owner}:${spec.id}`;
    const health = this.#hold(
      topic,
      () => {
        const held = spec.isName ? this.#env.dns.open(spec.host) : undefined;
        const former = this.#checking?.states.get(spec.id);
        return new NodeHealth(this.#env, { spec, conf, tls: this.tls, limiter, held, former, topic });
      },
      (state) => state.close(),
    );
    this.#endings.push(health.onFlip(this.#makeStale));
    return health;
  }

  readonly #makeStale = (): void => {
    this.#isStale = true;
  };

  #hold<T>(key: string, make: () => T, close?: (state: T) => void): T {
    let held = this.#held.get(key);
    if (!held) {
      held = this.#env.states.hold(key, make, close);
      this.#held.set(key, held);
    }
    // True: keys begin with the kind of state, which is made in one place each.
    return held.state as T;
  }
}

function peek(balancer: Balancer<UpstreamNode> | undefined, choice: Choice<UpstreamNode>): UpstreamNode | undefined {
  return balancer?.peek ? balancer.peek() : balancer?.pick(choice);
}

/** @throws CodedError CONFIG_INVALID */
export function readPassHost(record: UpstreamRecord): "pass" | "node" | "rewrite" {
  const mode = record.pass_host ?? "pass";
  if (mode === "rewrite" && !record.upstream_host)
    throw invalid("`upstream_host` can't be empty when `pass_host` is `rewrite`");
  if (mode === "pass" || mode === "node" || mode === "rewrite") return mode;
  throw invalid(`unknown pass_host "${mode}"`);
}

function invalid(message: string): CodedError {
  return new CodedError("CONFIG_INVALID", { message });
}
