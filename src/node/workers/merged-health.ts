/**
 * Health checkers of all workers as the Control API lists them: probes are the same for all, passive checks are each
 * worker's own; shown is the worst.
 */
import type { HealthNode, HealthReport } from "../../status/control-server.ts";

const WORST_FIRST: readonly HealthNode["status"][] = ["unhealthy", "mostly_unhealthy", "mostly_healthy", "healthy"];

/** @param answers of the workers; one that did not answer says nothing */
export function mergeHealth(answers: readonly PromiseSettledResult<readonly HealthReport[]>[]): HealthReport[] {
  const merged = new Map<string, HealthReport>();
  for (const report of answers.flatMap((answer) => (answer.status === "fulfilled" ? answer.value : []))) {
    const known = merged.get(report.name);
    merged.set(report.name, known ? { ...known, nodes: mergeNodes(known.nodes, report.nodes) } : report);
  }
  return [...merged.values()];
}

function mergeNodes(one: readonly HealthNode[], other: readonly HealthNode[]): readonly HealthNode[] {
  const worst = new Map<string, HealthNode>();
  for (const node of [...one, ...other]) {
    const at = `${node.hostname ?? ""} ${node.ip} ${node.port}`;
    const known = worst.get(at);
    if (!known || rank(node) < rank(known)) worst.set(at, node);
  }
  return [...worst.values()];
}

function rank({ status }: HealthNode): number {
  return WORST_FIRST.indexOf(status);
}
