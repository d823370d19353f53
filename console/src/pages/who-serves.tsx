/**
 * Which nodes serve a write, live: what the write was told, then how far each node is.
 */
import type { ReactNode } from "react";
import { useNodes, type Written } from "../api/queries.ts";
import { Badge } from "../ui/parts.tsx";

export function WhoServes(props: { readonly written: Written }): ReactNode {
  const { revision = 0, refused = [], left = [], message } = props.written;
  const nodes = useNodes();
  return (
    <>
      {message !== undefined && <p>{message}</p>}
      <ul className="nodes" aria-label="Nodes that serve it">
        {nodes.data?.list.map((node) => {
          const no = refused.find((one) => one.node === node.id);
          return (
            <li key={node.id}>
              <code>{node.id}</code>{" "}
              {no ? (
                <Badge tone="bad">{`does not serve it: ${no.reason}`}</Badge>
              ) : node.applied >= revision ? (
                <Badge tone="good">serves it</Badge>
              ) : (
                <Badge tone="warn">not yet</Badge>
              )}
            </li>
          );
        })}
        {left.map((id) => (
          <li key={id}>
            <code>{id}</code> <Badge tone="warn">lost its registration meanwhile</Badge>
          </li>
        ))}
      </ul>
    </>
  );
}
