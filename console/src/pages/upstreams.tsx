/**
 * Targets that nodes check, and how each node sees them.
 */
import { useQuery } from "@tanstack/react-query";
import type { ReactNode } from "react";
import { ask } from "../api/client.ts";
import { Badge, Empty, Notice, Page, Query, RecordRef, Table } from "../ui/parts.tsx";

/** As the status listener of a node has it. */
interface Checker {
  readonly name: string;
  readonly type: string;
  readonly nodes: readonly {
    readonly ip: string;
    readonly port: number;
    readonly hostname?: string;
    readonly status: string;
    readonly counter: Readonly<Record<string, number>>;
  }[];
}

interface Row {
  readonly record: string;
  readonly target: string;
  readonly node: string;
  readonly status: string;
  readonly why: string;
}

async function readHealth(): Promise<{ readonly rows: readonly Row[]; readonly silent: readonly string[] }> {
  const { list } = await ask("listNodes");
  const silent: string[] = [];
  const rows = await Promise.all(
    list.map(async ({ id }) => {
      try {
        const checkers = (await ask("nodeHealth", { params: { id } })) as unknown as readonly Checker[];
        return checkers.flatMap(({ name, nodes }) =>
          nodes.map(({ ip, port, hostname, status, counter }): Row => {
            const counted = Object.entries(counter).filter(([, count]) => count > 0);
            const why = counted.map(([what, count]) => `${count} ${what.replaceAll("_", " ")}`).join(", ");
            return { record: name, target: `${hostname ?? ip}:${port}`, node: id, status, why };
          }),
        );
      } catch {
        silent.push(id);
        return [];
      }
    }),
  );
  const order = (row: Row): string =>
    `${row.status.endsWith("unhealthy") ? 0 : 1} ${row.record} ${row.target} ${row.node}`;
  return { rows: rows.flat().sort((a, b) => (order(a) < order(b) ? -1 : 1)), silent };
}

export function Upstreams(): ReactNode {
  const health = useQuery({ queryKey: ["health"], queryFn: readHealth, refetchInterval: 5_000 });
  return (
    <Page title="Upstream health">
      <Query of={health}>
        {({ rows, silent }) => (
          <>
            {silent.length > 0 && <Notice tone="warn" title={`Nodes that do not answer: ${silent.join(", ")}`} />}
            {rows.length === 0 ? (
              <Empty title="No target is checked">
                <p>
                  Give an upstream <code>checks</code>: nodes then ask its targets themselves, or judge them by what
                  they answer to calls.
                </p>
              </Empty>
            ) : (
              <Table label="Targets" head={["Record", "Target", "Health", "Counted since it changed", "Node"]}>
                {rows.map((row) => (
                  <tr key={`${row.record} ${row.target} ${row.node}`}>
                    <td>
                      <RecordRef of={row.record} />
                    </td>
                    <td>
                      <code>{row.target}</code>
                    </td>
                    <td>
                      <Badge
                        tone={row.status.endsWith("unhealthy") ? "bad" : row.status === "healthy" ? "good" : "warn"}
                      >
                        {row.status.replaceAll("_", " ")}
                      </Badge>
                    </td>
                    <td>{row.why}</td>
                    <td>{row.node}</td>
                  </tr>
                ))}
              </Table>
            )}
          </>
        )}
      </Query>
    </Page>
  );
}
