/**
 * Makes plans: which balancer chooses among which nodes, given who is healthy now.
 * Promise: lower priorities come after higher ones, and within one nodes without weight after those with it; when
 * every node is unhealthy all are used; a node without any
 * address is left out. Called when a configuration, a node's health or a name's fate changes, never per request.
 */
import type { Clock } from "../../../base/clock.ts";
import { CodedError } from "../../../base/errors.ts";
import { BALANCERS } from "../../../model/upstream.ts";
import type { BalancePlan } from "../attempts.ts";
import { byPriority, type TargetSpec, withWeight } from "../target-list.ts";
import type { UpstreamRecord } from "../upstream-record.ts";
import type { UpstreamNode } from "../upstream-unit.ts";
import type { Balancer, NodeLoad } from "./balancer.ts";
import { ConsistentHash, compileHashKey, Ring } from "./chash.ts";
import { LatencyAverage, PowerOfTwo } from "./ewma.ts";
import { ActiveTries, LeastConnections } from "./least-conn.ts";
import { newPosition, RoundRobin } from "./round-robin.ts";

interface PlanEnv {
  readonly clock: Clock;
  readonly random: () => number;
  /** Takes shared state for as long as the unit lives; asked twice, the same. */
  hold<T>(key: string, make: () => T, close?: (state: T) => void): T;
  /** The resource whose state it is. */
  readonly owner: string;
}

/** A balancing rule bound to one upstream. */
export interface BalanceRule {
  /** What the rule remembers of a node, if anything. */
  load(spec: TargetSpec): NodeLoad | undefined;
  /**
   * @param members all nodes of one priority that ever get requests, by id
   * @param usable those of them that may be used now, at least one
   */
  balance(members: readonly UpstreamNode[], usable: ReadonlySet<UpstreamNode>): Balancer<UpstreamNode>;
}

/** @throws CodedError CONFIG_INVALID for an unknown type (with two nodes or more) or a bad hash key */
export function makeBalanceRule(record: UpstreamRecord, nodeCount: number, env: PlanEnv): BalanceRule {
  checkRule(record, nodeCount);
  const type = record.type ?? "roundrobin";
  switch (type) {
    case "roundrobin":
      return roundRobinRule(env);
    case "chash":
      return chashRule(record, env);
    case "least_conn":
      return {
        load: (spec) => env.hold(`upstream:active:${env.owner}:${spec.id}`, () => new ActiveTries()),
        balance: (_members, usable) => new LeastConnections([...usable], env.random),
      };
    case "ewma":
      return {
        load: (spec) => env.hold(`upstream:latency:${env.owner}:${spec.id}`, () => new LatencyAverage(env.clock)),
        balance: (_members, usable) => new PowerOfTwo([...usable], env.random),
      };
    default:
      return roundRobinRule(env);
  }
}

/** Throws what `makeRule` throws. */
export function checkRule(record: UpstreamRecord, nodeCount: number): void {
  const type = record.type ?? "roundrobin";
  if (type === "chash") compileHashKey(record);
  // APISIX answers 500 for an unknown one with two nodes, and never asks the balancer with one.
  if (nodeCount < 2 || (BALANCERS as readonly string[]).includes(type)) return;
  throw new CodedError("CONFIG_INVALID", { message: `unknown balancer type "${type}"` });
}

/** @returns undefined when no node can be used at all */
export function makeBalancePlan(nodes: readonly UpstreamNode[], rule: BalanceRule): BalancePlan | undefined {
  const groups = byPriority(nodes).map((group) => [...group].sort((a, b) => (a.id < b.id ? -1 : 1)));
  const reachable = nodes.filter((node) => !node.isLost);
  if (reachable.length === 0) return undefined;
  const healthy = reachable.filter((node) => node.isHealthy);
  const usable = new Set(healthy.length > 0 ? healthy : reachable);
  const [only, ...others] = groups.flatMap(withWeight);
  if (only && others.length === 0 && (usable.has(only) || nodes.length === 1)) return { groups: [], only };
  const balancers: Balancer<UpstreamNode>[] = [];
  for (const group of groups) {
    const mine = withWeight(group.filter((node) => usable.has(node)));
    // Those without weight are a group of their own, whose turn comes when none with weight can be used.
    const members = group.filter((node) => node.weight > 0 === (mine[0]?.weight ?? 0) > 0);
    if (mine.length > 0) balancers.push(rule.balance(members, new Set(mine)));
  }
  return { groups: balancers, only: undefined };
}

/** The turn is kept for the whole set of nodes: a new configuration of the same nodes goes on where this one is. */
function roundRobinRule(env: PlanEnv): BalanceRule {
  return {
    load: () => undefined,
    balance: (members, usable) => {
      const whole = usable.size === members.length && members.length > 1;
      const key = `upstream:turn:${env.owner}:${describe(members)}`;
      return new RoundRobin([...usable], whole ? env.hold(key, newPosition) : newPosition(), env.random);
    },
  };
}

function chashRule(record: UpstreamRecord, env: PlanEnv): BalanceRule {
  const key = compileHashKey(record);
  return {
    load: () => undefined,
    balance: (members, usable) => {
      const ring = env.hold(`upstream:ring:${describe(members)}`, () => new Ring(members));
      return new ConsistentHash(
        ring,
        members.map((node) => (usable.has(node) ? node : undefined)),
        key,
      );
    },
  };
}

function describe(members: readonly UpstreamNode[]): string {
  return members.map((node) => `${node.id}*${node.weight}@${node.priority}`).join();
}
