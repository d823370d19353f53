/**
 * What a node says of itself on its status port, read the way operators and Prometheus read it.
 */
import { bounded } from "./long-run.ts";

export interface NodeConfig {
  readonly revision: number;
  readonly store_head_revision: number;
  readonly loaded: boolean;
  readonly fresh: boolean;
  readonly connected: boolean;
  readonly staleness_seconds: number;
  readonly hash: string;
  readonly records: number;
  readonly store_problem: { readonly code: string; readonly text: string } | null;
  readonly problems_total: number;
  readonly problems: readonly {
    readonly key: string;
    readonly kind: string;
    readonly revision: number;
    readonly reason: string;
    readonly blocks: boolean;
  }[];
}

const ANSWER_MS = bounded(30_000, 5_000);

/** @param node with the origin of its status listener */
export async function configOf(node: { readonly status: string }): Promise<NodeConfig> {
  const answer = await fetch(`${node.status}/config`, { signal: AbortSignal.timeout(ANSWER_MS) });
  if (!answer.ok) throw new Error(`/config: ${answer.status}`);
  return (await answer.json()) as NodeConfig;
}

export async function metricsOf(node: { readonly status: string }): Promise<string> {
  const answer = await fetch(`${node.status}/metrics`, { signal: AbortSignal.timeout(ANSWER_MS) });
  if (!answer.ok) throw new Error(`/metrics: ${answer.status}`);
  return await answer.text();
}

/** The sum of all samples of a metric whose labels contain `labels`; undefined when there is none. */
export function sampleOf(metrics: string, name: string, labels = ""): number | undefined {
  let sum: number | undefined;
  for (const line of metrics.split("\n")) {
    if (!line.startsWith(name) || !"{ ".includes(line[name.length] ?? "x") || !line.includes(labels)) continue;
    sum = (sum ?? 0) + Number(line.slice(line.lastIndexOf(" ") + 1));
  }
  return sum;
}
