/**
 * What a node would do with a request, or did with one that it refused.
 */
import { useMutation, useQuery } from "@tanstack/react-query";
import { type FormEvent, type ReactNode, useState } from "react";
import { ask } from "../api/client.ts";
import { useMayWrite, useNodes } from "../api/queries.ts";
import { useKept } from "../drafts.ts";
import { CopyButton, Empty, Failure, Notice, Page, Query, RecordRef, Table, Time } from "../ui/parts.tsx";
import { Verdict } from "./verdict.tsx";

interface Asked {
  readonly method: string;
  readonly url: URL;
  readonly headers: Readonly<Record<string, string | readonly string[]>>;
}

function headersIn(text: string): Asked["headers"] {
  const found: Record<string, string | readonly string[]> = {};
  for (const line of text.split("\n")) {
    const at = line.indexOf(":");
    if (at <= 0) continue;
    const name = line.slice(0, at).trim();
    const value = line.slice(at + 1).trim();
    const known = found[name];
    found[name] = known === undefined ? value : [known, value].flat();
  }
  return found;
}

/** One word of a POSIX shell. */
const quoted = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`;

function curlOf({ method, url, headers }: Asked): string {
  const lines = Object.entries(headers).flatMap(([name, value]) =>
    [value].flat().map((one) => `-H ${quoted(`${name}: ${one}`)}`),
  );
  return ["curl -i", `-X ${quoted(method)}`, ...lines, quoted(url.href)].join(" ");
}

export function Explain(): ReactNode {
  const [method, setMethod] = useKept("explain method", "GET");
  const [address, setAddress] = useKept("explain address", "http://localhost/hello");
  const [headers, setHeaders] = useKept("explain headers");
  const [node, setNode] = useState("");
  const nodes = useNodes();
  const mayAsk = useMayWrite();
  const isUrl = URL.canParse(address);
  const explain = useMutation({
    mutationFn: (asked: Asked) =>
      ask("explain", {
        body: {
          request: {
            ...{ method: asked.method, host: asked.url.host, scheme: asked.url.protocol.slice(0, -1) },
            ...{ uri: `${asked.url.pathname}${asked.url.search}`, headers: asked.headers },
          },
          ...(node !== "" && { node }),
        },
      }),
  });
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    if (isUrl) explain.mutate({ method, url: new URL(address), headers: headersIn(headers) });
  };
  return (
    <Page title="Explain">
      <p className="muted">
        A node says what it would do: by the code, the configuration and the keys that judge calls. It calls no upstream
        and keeps nothing of what you send.
      </p>
      <form className="explain" onSubmit={submit}>
        <label>
          Method <input value={method} onChange={(event) => setMethod(event.target.value.toUpperCase())} required />
        </label>
        <label className="wide">
          Address{" "}
          <input value={address} onChange={(event) => setAddress(event.target.value)} required spellCheck={false} />
        </label>
        <label>
          Node
          <select value={node} onChange={(event) => setNode(event.target.value)}>
            <option value="">any</option>
            {nodes.data?.list.map(({ id }) => (
              <option key={id}>{id}</option>
            ))}
          </select>
        </label>
        <label className="whole">
          Headers, one a line
          <textarea
            rows={4}
            value={headers}
            placeholder="Authorization: Bearer eyJ…"
            spellCheck={false}
            onChange={(event) => setHeaders(event.target.value)}
          />
        </label>
        {!isUrl && <Notice tone="bad" title="The address is no URL: write it as http://host/path?query" />}
        <p className="actions">
          <button type="submit" className="primary" disabled={!isUrl || !mayAsk || explain.isPending}>
            Explain
          </button>
          {isUrl && (
            <CopyButton
              label="Copy as curl"
              text={curlOf({ method, url: new URL(address), headers: headersIn(headers) })}
            />
          )}
        </p>
      </form>
      {!mayAsk && (
        <Notice tone="plain" title="A viewer's key may only read: to explain a request takes a key with role admin" />
      )}
      {explain.error && <Failure error={explain.error} retry={() => explain.reset()} />}
      {explain.data && <Verdict of={explain.data} />}
      <Refusals />
    </Page>
  );
}

/** The calls that nodes refused last; one of them by its request id. */
function Refusals(): ReactNode {
  const [id, setId] = useState("");
  const wanted = id.trim();
  const refusals = useQuery({
    queryKey: ["refusals", wanted],
    queryFn: () => ask("listRefusals", { query: wanted === "" ? {} : { request_id: wanted } }),
  });
  return (
    <>
      <h2>Refused calls</h2>
      <form className="filters" onSubmit={(event) => event.preventDefault()}>
        <label>
          Request id <input value={id} onChange={(event) => setId(event.target.value)} spellCheck={false} />
        </label>
        <button type="button" onClick={() => void refusals.refetch()}>
          Look again
        </button>
      </form>
      <Query of={refusals}>
        {({ list: calls }) =>
          calls.length === 0 ? (
            <Empty title="No refused call is remembered">
              <p>Each process keeps the last 1,000 calls that it answered itself with 400 or more.</p>
            </Empty>
          ) : (
            <Table label="Refused calls" head={["When", "Call", "Answer", "Who", "Node"]}>
              {calls.slice(0, 100).map((one) => (
                <tr key={`${one.node} ${one.time} ${one.request_id ?? ""} ${one.client}`}>
                  <td>
                    <Time at={one.time} />
                    <div className="muted">{one.request_id}</div>
                  </td>
                  <td>
                    {one.method} {one.route !== undefined && <RecordRef of={`routes/${one.route}`} />}
                    <div className="muted">{one.client}</div>
                  </td>
                  <td>
                    {one.status} {one.reason}
                    <div className="muted">{[one.plugin, one.detail].filter(Boolean).join(": ")}</div>
                  </td>
                  <td>{[one.consumer, one.credential, one.issuer, one.kid].filter(Boolean).join(" ")}</td>
                  <td>{one.node}</td>
                </tr>
              ))}
            </Table>
          )
        }
      </Query>
    </>
  );
}
