/**
 * The nodes of an upstream: addresses with weights, in either form that records have, a map or a list.
 */
import type { FieldProps } from "@rjsf/utils";
import type { ReactNode } from "react";
import { give } from "./field-parts.tsx";
import { membersOf } from "./record-schema.ts";

interface NodeRow {
  readonly address: string;
  readonly weight: unknown;
  /** What a list has beside. */
  readonly more: Readonly<Record<string, unknown>>;
}

function rowsOf(nodes: unknown): readonly NodeRow[] {
  if (!Array.isArray(nodes))
    return Object.entries(membersOf(nodes)).map(([address, weight]) => ({ address, weight, more: {} }));
  return nodes.map((node) => {
    const { host, port, weight, ...more } = membersOf(node);
    return { address: `${host ?? ""}${port === undefined ? "" : `:${port}`}`, weight, more };
  });
}

function nodesOf(rows: readonly NodeRow[], isList: boolean): unknown {
  if (!isList) return Object.fromEntries(rows.map(({ address, weight }) => [address, weight]));
  return rows.map(({ address, weight, more }) => {
    const [, host = address, port] = /^(.*):(\d+)$/.exec(address) ?? [];
    return { host, ...(port !== undefined && { port: Number(port) }), weight, ...more };
  });
}

const readWeight = (text: string): unknown => (/^\d{1,9}$/.test(text) ? Number(text) : text);

export function NodesField(props: FieldProps): ReactNode {
  const { formData, readonly, name, schema, rawErrors = [] } = props;
  const isList = Array.isArray(formData);
  const rows = rowsOf(formData);
  const put = (next: readonly NodeRow[]): void => give(props, nodesOf(next, isList));
  const change = (at: number, more: Partial<NodeRow>): void =>
    put(rows.map((row, index) => (index === at ? { ...row, ...more } : row)));
  return (
    <fieldset className="list">
      <legend>{name}</legend>
      <p className="muted">{schema.description ?? "Where requests go: host:port, and its share of them."}</p>
      {rows.map(({ address, weight }, at) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: an address is typed letter by letter
        <div className="pair" key={at}>
          <input
            aria-label={`Address of node ${at + 1}`}
            placeholder="127.0.0.1:1980"
            value={address}
            readOnly={readonly}
            onChange={(event) => change(at, { address: event.target.value })}
          />
          <input
            aria-label={`Weight of node ${at + 1}`}
            inputMode="numeric"
            value={String(weight ?? "")}
            readOnly={readonly}
            onChange={(event) => change(at, { weight: readWeight(event.target.value) })}
          />
          {!readonly && (
            <button type="button" onClick={() => put(rows.filter((_, index) => index !== at))}>
              Remove node {at + 1}
            </button>
          )}
        </div>
      ))}
      {rawErrors.length > 0 && <p className="field-error">{rawErrors.join(" ")}</p>}
      {!readonly && (
        <button type="button" onClick={() => put([...rows, { address: "", weight: 1, more: {} }])}>
          Add a node
        </button>
      )}
    </fieldset>
  );
}
