/**
 * What stands beside some kinds of records: rotation of keys and last use, keys of issuers, own signing keys.
 */
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { type ReactNode, useState } from "react";
import { ask, call } from "../api/client.ts";
import type { Place } from "../api/kinds.ts";
import { type RecordList, useMayWrite } from "../api/queries.ts";
import { Badge, CopyButton, Failure, inWords, Notice, Query, Table, Time } from "../ui/parts.tsx";
import { MintPanel } from "./mint-token.tsx";

export function RecordPanel(props: { readonly place: Place }): ReactNode {
  const { place } = props;
  const { kind, id = "", list } = place;
  switch (kind.dir) {
    case "consumers":
      return <CallerPanels path={place.path} consumer={id} />;
    case "credentials":
      return <CallerPanels path={place.path} consumer={list.split("/")[1] ?? ""} credential={id} />;
    case "token_issuers":
      return <IssuerPanel id={id} />;
    case "authorization_servers":
      return <SigningKeysPanel id={id} />;
    default:
      return null;
  }
}

function CallerPanels(props: {
  readonly path: string;
  readonly consumer: string;
  readonly credential?: string;
}): ReactNode {
  const { path, ...caller } = props;
  return (
    <>
      <KeyPanel {...caller} />
      {useMayWrite() && <MintPanel path={path} {...caller} />}
    </>
  );
}

/** Last use, and a new key beside which the former is taken for a while. */
function KeyPanel(props: { readonly consumer: string; readonly credential?: string }): ReactNode {
  const { consumer, credential } = props;
  const [overlap, setOverlap] = useState("86400");
  const client = useQueryClient();
  const mayWrite = useMayWrite();
  const usage = useQuery({
    queryKey: ["usage", consumer, credential],
    queryFn: () => ask("listUsage", { query: { consumer, ...(credential !== undefined && { credential }) } }),
  });
  const rotate = useMutation({
    mutationFn: () => {
      const query = { overlap, wait: "all", timeout: "3s" };
      return credential === undefined
        ? ask("rotateConsumer", { params: { username: consumer }, query })
        : ask("rotateCredential", { params: { username: consumer, id: credential }, query });
    },
    onSuccess: async () => {
      await client.invalidateQueries();
    },
  });
  return (
    <section className="panel" aria-label="Keys">
      <h2>Last use</h2>
      <Query of={usage}>
        {({ list }) =>
          list.length === 0 ? (
            <p className="muted">Nothing of it was used yet.</p>
          ) : (
            <ul>
              {list.map((one) => (
                <li key={`${one.consumer} ${one.credential}`}>
                  {one.credential ?? one.consumer}: {one.last_used === null ? "never" : <Time at={one.last_used} />}
                </li>
              ))}
            </ul>
          )
        }
      </Query>
      {mayWrite && (
        <p className="actions">
          <label className="inline">
            The former key is taken for
            <select value={overlap} onChange={(event) => setOverlap(event.target.value)}>
              <option value="0">no time</option>
              <option value="3600">an hour</option>
              <option value="86400">a day</option>
              <option value="604800">a week</option>
            </select>
          </label>
          <button type="button" disabled={rotate.isPending} onClick={() => rotate.mutate()}>
            Rotate its key
          </button>
        </p>
      )}
      {rotate.error && <Failure error={rotate.error} retry={() => rotate.reset()} />}
      {rotate.data && (
        <Notice
          tone="warn"
          title={`The key of ${rotate.data.plugin} was rotated. What was made is shown once: copy it now`}
        >
          {Object.entries(rotate.data.generated ?? {}).map(([name, value]) => (
            <p key={name}>
              {name}: <code>{value}</code> <CopyButton text={value} />
            </p>
          ))}
        </Notice>
      )}
    </section>
  );
}

/** The keys of an issuer, as nodes have them, and their age. */
function IssuerPanel(props: { readonly id: string }): ReactNode {
  const status = useQuery({
    queryKey: ["issuer", props.id],
    queryFn: () => ask("getTokenIssuerStatus", { params: { id: props.id } }),
    refetchInterval: 5_000,
  });
  const mayWrite = useMayWrite();
  const refresh = useMutation({
    mutationFn: () => ask("refreshTokenIssuer", { params: { id: props.id }, query: { wait: "all", timeout: "3s" } }),
    onSuccess: () => status.refetch(),
  });
  return (
    <section className="panel" aria-label="Keys of the issuer">
      <h2>Its keys</h2>
      {refresh.error && <Failure error={refresh.error} retry={() => refresh.reset()} />}
      <Query of={status}>
        {({ kids, skipped, fetched_at, source, nodes }) => (
          <>
            <p>
              {fetched_at === null ? "No keys were fetched yet" : <Time at={fetched_at} />} {source}
            </p>
            <Table label="Keys" head={["kid", "Type", "Algorithms"]}>
              {kids.map((key) => (
                <tr key={key.kid}>
                  <td>
                    <code>{key.kid ?? "none"}</code>
                  </td>
                  <td>{key.kty}</td>
                  <td>{key.algorithms.join(", ")}</td>
                </tr>
              ))}
              {skipped.map((key) => (
                <tr key={`${key.kid} ${key.why}`}>
                  <td>
                    <code>{key.kid ?? "none"}</code>
                  </td>
                  <td>
                    <Badge tone="warn">left out</Badge>
                  </td>
                  <td>{key.why}</td>
                </tr>
              ))}
            </Table>
            <Table label="Nodes" head={["Node", "Age of its keys", "Problem"]}>
              {nodes.map((node) => (
                <tr key={node.id}>
                  <td>
                    <code>{node.id}</code>
                  </td>
                  <td>{node.age === null ? "none" : inWords(-node.age)}</td>
                  <td>{node.problem}</td>
                </tr>
              ))}
            </Table>
          </>
        )}
      </Query>
      {mayWrite && (
        <button type="button" disabled={refresh.isPending} onClick={() => refresh.mutate()}>
          Fetch them now
        </button>
      )}
    </section>
  );
}

/** Times of a signing key that are set, in their order. */
const LIFE = [
  ["publish_at", "published"],
  ["sign_from", "signs"],
  ["sign_until", "signs no more"],
  ["verify_until", "verifies no more"],
  ["revoked_at", "revoked"],
] as const;

function SigningKeysPanel(props: { readonly id: string }): ReactNode {
  const { id } = props;
  const client = useQueryClient();
  const mayWrite = useMayWrite();
  const [isSure, setSure] = useState(false);
  const keys = useQuery({
    queryKey: ["signing-keys", id],
    queryFn: async () => (await call<RecordList>("GET", `/signing_keys/${encodeURIComponent(id)}`)).body,
  });
  const rotate = useMutation({
    mutationFn: (emergency: boolean) =>
      ask("rotateSigningKey", {
        params: { id },
        query: { wait: "all", timeout: "3s", ...(emergency && { emergency: "1" }) },
      }),
    onSuccess: async () => {
      setSure(false);
      await client.invalidateQueries();
    },
  });
  const now = Date.now() / 1_000;
  return (
    <section className="panel" aria-label="Signing keys">
      <h2>Its signing keys</h2>
      <Query of={keys}>
        {({ list }) => (
          <Table label="Life of the keys" head={["kid", "Algorithm", ...LIFE.map(([, name]) => name)]}>
            {list.map(({ key, value }) => (
              <tr key={key}>
                <td>
                  <code>{key.slice(key.lastIndexOf("/") + 1)}</code>
                </td>
                <td>{String(value["algorithm"] ?? "")}</td>
                {LIFE.map(([name]) => {
                  const at = value[name];
                  return (
                    <td key={name}>
                      {typeof at === "number" && (
                        <>
                          <Time at={at} /> <Badge tone={at <= now ? "good" : "plain"}>{inWords(at - now)}</Badge>
                        </>
                      )}
                    </td>
                  );
                })}
              </tr>
            ))}
          </Table>
        )}
      </Query>
      {rotate.error && <Failure error={rotate.error} retry={() => rotate.reset()} />}
      {rotate.data && (
        <Notice tone="good" title="Rotated">
          <p>
            {rotate.data.algorithm}: {rotate.data.next} signs{" "}
            {typeof rotate.data.sign_from === "number" && <Time at={rotate.data.sign_from} />}
          </p>
        </Notice>
      )}
      {mayWrite && (
        <p className="actions">
          <button type="button" disabled={rotate.isPending} onClick={() => rotate.mutate(false)}>
            Rotate
          </button>
          <label className="check">
            <input type="checkbox" checked={isSure} onChange={(event) => setSure(event.target.checked)} />
            The keys have leaked: all tokens signed by them shall be refused at once
          </label>
          <button
            type="button"
            className="danger"
            disabled={!isSure || rotate.isPending}
            onClick={() => rotate.mutate(true)}
          >
            Emergency rotation
          </button>
        </p>
      )}
    </section>
  );
}
