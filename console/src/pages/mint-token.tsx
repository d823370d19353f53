/**
 * A test token of a consumer or credential; of a client the command that gets one, as its secret is known to it alone.
 */
import { useMutation } from "@tanstack/react-query";
import { type ReactNode, useState } from "react";
import { useLocation } from "wouter";
import { ask } from "../api/client.ts";
import { useRecord } from "../api/queries.ts";
import { keepText } from "../drafts.ts";
import { CopyButton, Failure, inWords, Notice } from "../ui/parts.tsx";

interface MintProps {
  /** Of the record, as the Admin API has it. */
  readonly path: string;
  readonly consumer: string;
  readonly credential?: string | undefined;
}

export function MintPanel(props: MintProps): ReactNode {
  const { data } = useRecord(props.path);
  const plugins = Object(Object(data?.value)["plugins"]) as Readonly<Record<string, unknown>>;
  const client = Object(plugins["oauth2-client"]) as { readonly client_id?: unknown };
  return (
    <>
      {plugins["jwt-auth"] !== undefined && <MintJwt {...props} />}
      {typeof client.client_id === "string" && <ClientCommand client={client.client_id} />}
    </>
  );
}

function MintJwt(props: MintProps): ReactNode {
  const { consumer, credential } = props;
  const [lifetime, setLifetime] = useState("300");
  const [claims, setClaims] = useState("");
  const [wrong, setWrong] = useState(false);
  const [, go] = useLocation();
  const mint = useMutation({
    mutationFn: (body: object) =>
      credential === undefined
        ? ask("mintConsumerToken", { params: { username: consumer }, body })
        : ask("mintCredentialToken", { params: { username: consumer, id: credential }, body }),
  });
  const start = (): void => {
    let more: unknown;
    try {
      more = claims.trim() === "" ? {} : JSON.parse(claims);
    } catch {
      setWrong(true);
      return;
    }
    setWrong(false);
    mint.mutate({ lifetime: Number(lifetime), claims: more });
  };
  return (
    <section className="panel" aria-label="Test token">
      <h2>Test token</h2>
      <p className="muted">
        Signed by the admin with this jwt-auth key, as its owner could. The admin's log has who asked.
      </p>
      <form
        className="filters"
        onSubmit={(event) => {
          event.preventDefault();
          start();
        }}
      >
        <label>
          It lives for
          <select value={lifetime} onChange={(event) => setLifetime(event.target.value)}>
            <option value="60">a minute</option>
            <option value="300">five minutes</option>
            <option value="3600">an hour</option>
            <option value="86400">a day</option>
          </select>
        </label>
        <label>
          More claims (JSON)
          <input
            value={claims}
            onChange={(event) => setClaims(event.target.value)}
            placeholder='{"role": "tester"}'
            spellCheck={false}
            aria-invalid={wrong}
          />
        </label>
        <button type="submit" disabled={mint.isPending}>
          Sign a test token
        </button>
      </form>
      {wrong && (
        <Notice
          tone="bad"
          title="The claims are no JSON: an object such as {&quot;role&quot;: &quot;tester&quot;} is"
        />
      )}
      {mint.error && <Failure error={mint.error} retry={() => mint.reset()} />}
      {mint.data && (
        <Notice tone="good" title={`Signed; it ends ${inWords(mint.data.expires - Date.now() / 1_000)}`}>
          <p>
            <code className="token">{mint.data.token}</code>
          </p>
          <p className="actions">
            <CopyButton text={mint.data.token} label="Copy the token" />
            <button
              type="button"
              onClick={() => {
                keepText("token", mint.data.token);
                go("/tokens");
              }}
            >
              Read and judge it
            </button>
          </p>
        </Notice>
      )}
    </section>
  );
}

function ClientCommand(props: { readonly client: string }): ReactNode {
  const quoted = `'${props.client.replaceAll("'", `'\\''`)}'`;
  const command = `jotgate token new --client ${quoted} --admin ${location.origin}`;
  return (
    <section className="panel" aria-label="Token of the client">
      <h2>Token of the client</h2>
      <p className="muted">
        Only the client has its secret. Put it into JOTGATE_CLIENT_SECRET, an admin key into JOTGATE_ADMIN_KEY, and run:
      </p>
      <p>
        <code>{command}</code> <CopyButton text={command} />
      </p>
    </section>
  );
}
