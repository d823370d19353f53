/**
 * Records that nodes cannot use, of all nodes.
 */
import type { ReactNode } from "react";
import { useProblems } from "../api/queries.ts";
import { Badge, Empty, Notice, Page, Query, RecordRef, Table } from "../ui/parts.tsx";

export function Problems(): ReactNode {
  const problems = useProblems();
  return (
    <Page title="Problems">
      <Query of={problems}>
        {({ list, silent }) => (
          <>
            {silent !== undefined && silent.length > 0 && (
              <Notice
                tone="warn"
                title={`${silent.length} ${silent.length === 1 ? "node does" : "nodes do"} not answer`}
              >
                <p>
                  {silent.join(", ")}: a node that is gone leaves the list within 15 seconds; else set status.advertise
                  on it to where the admin reaches it.
                </p>
              </Notice>
            )}
            {list.length === 0 ? (
              <Empty title="No problems">
                <p>Every node that answers can use every record. What one cannot use is named here, with the reason.</p>
              </Empty>
            ) : (
              <Table label="Problems" head={["Record", "Why", "Effect", "Nodes"]}>
                {list.map((one) => (
                  <tr key={`${one.key} ${one.revision} ${one.reason}`}>
                    <td>
                      <RecordRef of={one.key} />
                      <div className="muted">revision {one.revision}</div>
                    </td>
                    <td>{one.reason}</td>
                    <td>
                      {one.blocks ? (
                        <Badge tone="bad">its requests are answered 503</Badge>
                      ) : (
                        <Badge tone="warn">the last good one serves</Badge>
                      )}
                    </td>
                    <td>{one.nodes.join(", ")}</td>
                  </tr>
                ))}
              </Table>
            )}
            <p className="muted">
              The cure is to open the record and save it right; nodes take it at once. Node by node:{" "}
              <code>GET /apisix/admin/nodes/…/problems</code>.
            </p>
          </>
        )}
      </Query>
    </Page>
  );
}
