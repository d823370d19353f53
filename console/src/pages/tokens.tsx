/**
 * Tokens: paste one and see what it says, whether it is revoked and what a route would make of it; end tokens, and take rules back.
 */
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, type ReactNode, useState } from "react";
import { ask } from "../api/client.ts";
import { useMayWrite } from "../api/queries.ts";
import { useKept } from "../drafts.ts";
import { Badge, Empty, Failure, inWords, Notice, Page, Query, Table, Time } from "../ui/parts.tsx";
import { Verdict } from "./verdict.tsx";
import { WhoServes } from "./who-serves.tsx";

type Claims = Readonly<Record<string, unknown>>;

/** Header and claims, as they are written; nobody has verified them. @returns undefined for what is no JWT */
function decode(token: string): { readonly header: Claims; readonly claims: Claims } | undefined {
  const part = (text = ""): Claims => {
    const bytes = Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (one) => one.charCodeAt(0));
    return Object(JSON.parse(new TextDecoder().decode(bytes))) as Claims;
  };
  try {
    const [header, claims, signature] = token.split(".");
    return signature === undefined ? undefined : { header: part(header), claims: part(claims) };
  } catch {
    return undefined;
  }
}

export function Tokens(): ReactNode {
  const [given, setGiven] = useKept("token");
  const token = given.trim().replace(/^Bearer /i, "");
  const decoded = decode(token);
  return (
    <Page title="Tokens">
      <label>
        Paste a token
        <textarea
          rows={4}
          value={given}
          onChange={(event) => setGiven(event.target.value)}
          spellCheck={false}
          autoComplete="off"
        />
      </label>
      {token !== "" && !decoded && (
        <Notice
          tone="warn"
          title="This is no JSON Web Token: it has three parts with dots between, as in eyJ….eyJ….abc"
        />
      )}
      {decoded && <Decoded key={token} token={token} {...decoded} />}
      <Revocations />
    </Page>
  );
}

function Decoded(props: { readonly token: string; readonly header: Claims; readonly claims: Claims }): ReactNode {
  const { token, header, claims } = props;
  const mayWrite = useMayWrite();
  return (
    <section className="panel" aria-label="What the token says">
      <h2>What it says</h2>
      <p className="muted">As written; whether it is true is for a route to judge.</p>
      <Table label="Claims" head={["Claim", "Value", ""]}>
        {Object.entries({ ...header, ...claims }).map(([name, value]) => (
          <tr key={name}>
            <td>{name}</td>
            <td>
              <code>{typeof value === "string" ? value : JSON.stringify(value)}</code>
            </td>
            <td>
              {["exp", "nbf", "iat", "auth_time"].includes(name) && typeof value === "number" && (
                <>
                  <Time at={value} /> ({inWords(value - Date.now() / 1_000)})
                </>
              )}
            </td>
          </tr>
        ))}
      </Table>
      {mayWrite ? (
        <Judged token={token} />
      ) : (
        <Notice tone="plain" title="A viewer's key may not have tokens judged: it may only read" />
      )}
    </section>
  );
}

/** By what it is revoked, what a route makes of it, and its end. */
function Judged(props: { readonly token: string }): ReactNode {
  const { token } = props;
  const client = useQueryClient();
  const [route, setRoute] = useState("");
  // The token is no part of a key of the cache: whoever pasted another has another component.
  const revoked = useMutation({ mutationFn: () => ask("checkRevocation", { body: { token } }) });
  const explain = useMutation({ mutationFn: () => ask("explain", { body: { token, route: route.trim() } }) });
  const end = useMutation({
    mutationFn: () => ask("revoke", { body: { token }, query: { wait: "all", timeout: "3s" } }),
    onSuccess: async () => {
      revoked.mutate();
      await client.invalidateQueries({ queryKey: ["revocations"] });
    },
  });
  return (
    <>
      <form
        className="filters"
        onSubmit={(event) => {
          event.preventDefault();
          explain.mutate();
        }}
      >
        <label>
          Route{" "}
          <input
            value={route}
            onChange={(event) => setRoute(event.target.value)}
            placeholder="id of a route"
            required
          />
        </label>
        <button type="submit" className="primary" disabled={route.trim() === "" || explain.isPending}>
          Is it valid there?
        </button>
        <button type="button" disabled={revoked.isPending} onClick={() => revoked.mutate()}>
          Is it revoked?
        </button>
        <button type="button" className="danger" disabled={end.isPending} onClick={() => end.mutate()}>
          Revoke it
        </button>
      </form>
      {[revoked, explain, end].map(
        (one, at) => one.error && <Failure key={String(at)} error={one.error} retry={() => one.reset()} />,
      )}
      {end.data && (
        <Notice tone="good" title="Revoked">
          <WhoServes written={{ ...end.data, changes: [] }} />
        </Notice>
      )}
      {revoked.data && (
        <Notice
          tone={revoked.data.revoked ? "bad" : "good"}
          title={revoked.data.revoked ? "It is revoked" : "It is not revoked"}
        >
          {revoked.data.by && (
            <p>
              by {revoked.data.by.type} {revoked.data.by.value} {revoked.data.by.reason}
            </p>
          )}
        </Notice>
      )}
      {explain.data && <Verdict of={explain.data} />}
    </>
  );
}

const TARGETS = {
  consumer: ["Consumer"],
  client_id: ["Client id"],
  subject: ["Subject", "issuer"],
  kid: ["Key id (kid)", "issuer"],
} as const;

function Revocations(): ReactNode {
  const client = useQueryClient();
  const mayWrite = useMayWrite();
  const [what, setWhat] = useState<keyof typeof TARGETS>("consumer");
  const rules = useQuery({
    queryKey: ["revocations"],
    queryFn: () => ask("listRevocations", { query: { page: "1", page_size: "100" } }),
  });
  const refresh = async (): Promise<void> => {
    await client.invalidateQueries({ queryKey: ["revocations"] });
  };
  const revoke = useMutation({
    mutationFn: (body: object) => ask("revoke", { body, query: { wait: "all", timeout: "3s" } }),
    onSuccess: refresh,
  });
  const takeBack = useMutation({
    mutationFn: (name: string) =>
      ask("takeRevocationBack", { params: { name }, query: { wait: "all", timeout: "3s" } }),
    onSuccess: refresh,
  });
  const submit = (event: FormEvent<HTMLFormElement>): void => {
    event.preventDefault();
    const given = [...new FormData(event.currentTarget)].filter(([, value]) => value !== "");
    revoke.mutate(Object.fromEntries(given));
  };
  return (
    <>
      <h2>Ended before their time</h2>
      {mayWrite && (
        <form className="filters" onSubmit={submit}>
          <label>
            End all tokens of a
            <select value={what} onChange={(event) => setWhat(event.target.value as keyof typeof TARGETS)}>
              {Object.entries(TARGETS).map(([name, [title]]) => (
                <option key={name} value={name}>
                  {title}
                </option>
              ))}
            </select>
          </label>
          <label>
            {TARGETS[what][0]} <input name={what} required spellCheck={false} />
          </label>
          {TARGETS[what][1] !== undefined && (
            <label>
              Issuer <input name="issuer" required spellCheck={false} />
            </label>
          )}
          {what !== "kid" && (
            <label>
              Reason <input name="reason" maxLength={256} />
            </label>
          )}
          <button type="submit" className="danger" disabled={revoke.isPending}>
            Revoke
          </button>
        </form>
      )}
      {revoke.error && <Failure error={revoke.error} retry={() => revoke.reset()} />}
      {takeBack.error && <Failure error={takeBack.error} retry={() => takeBack.reset()} />}
      {revoke.data && (
        <Notice tone="good" title="Revoked">
          <WhoServes written={{ ...revoke.data, changes: [] }} />
        </Notice>
      )}
      <Query of={rules}>
        {({ list, tokens }) => (
          <>
            {tokens && <p className="muted">{tokens.total} single tokens are revoked.</p>}
            {list.length === 0 ? (
              <Empty title="No rule ends tokens">
                <p>A rule refuses what was issued before it, on every node; callers go on with new tokens at once.</p>
              </Empty>
            ) : (
              <Table label="Rules" head={["What", "Issued before", "Reason", "Since", ""]}>
                {list.map((rule) => (
                  <tr key={rule.name}>
                    <td>
                      <Badge tone="plain">{rule.type}</Badge> {rule.value}
                      <div className="muted">{rule.issuer}</div>
                    </td>
                    <td>{rule.issued_before !== undefined && <Time at={rule.issued_before} />}</td>
                    <td>{rule.reason}</td>
                    <td>
                      <Time at={rule.time} />
                    </td>
                    <td>
                      {mayWrite && (
                        <button type="button" disabled={takeBack.isPending} onClick={() => takeBack.mutate(rule.name)}>
                          Take back
                        </button>
                      )}
                    </td>
                  </tr>
                ))}
              </Table>
            )}
          </>
        )}
      </Query>
    </>
  );
}
