/**
 * Signing in: a key, or the one-time link that a node printed on its terminal.
 */
import { type FormEvent, type ReactNode, useEffect, useState } from "react";
import { ApiError, call } from "../api/client.ts";
import { signIn, signOutReason, takeLinkToken } from "../session.ts";
import { Failure, Notice } from "../ui/parts.tsx";

const linkToken = takeLinkToken();
/** One try for one token, however often the page is rendered. */
let redeemed: Promise<string> | undefined;

async function redeem(token: string): Promise<string> {
  const response = await fetch("/ui/link", { method: "POST", body: JSON.stringify({ token }), credentials: "omit" });
  const body = (await response.json()) as { readonly key?: string; readonly error_msg?: string };
  if (body.key === undefined) throw new ApiError(response.status, body.error_msg ?? "", "Paste the key below.");
  return body.key;
}

export function SignIn(): ReactNode {
  const [key, setKey] = useState("");
  const [keep, setKeep] = useState(false);
  const [error, setError] = useState<unknown>();
  const [isBusy, setBusy] = useState(false);
  const reason = signOutReason();

  useEffect(() => {
    document.title = "Sign in · Jotgate";
    if (linkToken === undefined || redeemed !== undefined) return;
    redeemed = redeem(linkToken);
    redeemed.then((given) => signIn(given, false), setError);
  }, []);

  const submit = async (event: FormEvent): Promise<void> => {
    event.preventDefault();
    setBusy(true);
    try {
      await call("GET", "/whoami", { key: key.trim() });
      signIn(key.trim(), keep);
    } catch (failure) {
      setError(
        failure instanceof ApiError && failure.status === 401
          ? new ApiError(
              401,
              "This key is not one of the Admin API.",
              "Look at admin.key, or at keys.json in the data folder.",
            )
          : failure,
      );
    } finally {
      setBusy(false);
    }
  };

  return (
    <main className="alone">
      <h1>Jotgate</h1>
      {reason !== undefined && <Notice tone="warn" title={reason} />}
      {error !== undefined && <Failure error={error} retry={() => setError(undefined)} />}
      <form
        onSubmit={(event) => {
          void submit(event);
        }}
      >
        <label>
          Key of the Admin API
          <input
            type="password"
            autoComplete="off"
            spellCheck={false}
            required
            value={key}
            onChange={(event) => setKey(event.target.value)}
          />
        </label>
        <label className="check">
          <input type="checkbox" checked={keep} onChange={(event) => setKeep(event.target.checked)} />
          Keep it until this tab is closed
        </label>
        <button type="submit" className="primary" disabled={isBusy || key.trim() === ""}>
          Sign in
        </button>
      </form>
      <p className="muted">
        <code>npm start</code> prints the key when it makes it. A viewer's key shows everything but secrets, and changes
        nothing. The key stays in this tab; it is never part of an address.
      </p>
    </main>
  );
}
