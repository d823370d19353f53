/**
 * The console's few components. Own ones: a dozen elements with one style sheet weigh less than any library, and a strict
 * Content-Security-Policy leaves no inline styles to the libraries that make them.
 */
import { useQueryClient } from "@tanstack/react-query";
import { type ReactNode, useEffect, useState } from "react";
import { Link } from "wouter";
import { ApiError } from "../api/client.ts";
import { recordLink, recordName } from "../api/kinds.ts";
import { useWho } from "../api/queries.ts";

export function Page(props: {
  readonly title: string;
  readonly aside?: ReactNode;
  readonly children: ReactNode;
}): ReactNode {
  useEffect(() => {
    document.title = `${props.title} · Jotgate`;
  }, [props.title]);
  return (
    <>
      <div className="page-head">
        <h1>{props.title}</h1>
        <div className="page-aside">{props.aside}</div>
      </div>
      {props.children}
    </>
  );
}

type Tone = "good" | "bad" | "warn" | "plain";

export function Notice(props: {
  readonly tone: Tone;
  readonly title?: string;
  readonly children?: ReactNode;
}): ReactNode {
  return (
    <div className={`notice ${props.tone}`} role={props.tone === "bad" ? "alert" : "status"}>
      {props.title !== undefined && <strong>{props.title}</strong>}
      {props.children}
    </div>
  );
}

export function Badge(props: { readonly tone: Tone; readonly children: ReactNode }): ReactNode {
  return <span className={`badge ${props.tone}`}>{props.children}</span>;
}

/** What happened, what to do, and a way to try again. */
export function Failure(props: { readonly error: unknown; readonly retry?: () => void }): ReactNode {
  const client = useQueryClient();
  const { error } = props;
  const known = error instanceof ApiError;
  const retry = props.retry ?? (() => void client.invalidateQueries());
  return (
    <Notice tone="bad" title={known ? error.message : "The console failed"}>
      <p>{known ? error.cure : String(error)}</p>
      <button type="button" onClick={retry}>
        Try again
      </button>
    </Notice>
  );
}

export function Loading(): ReactNode {
  return (
    <p className="muted" role="status">
      Loading…
    </p>
  );
}

interface Loaded<Data> {
  readonly data: Data | undefined;
  readonly error: unknown;
  refetch(): unknown;
}

/** What was loaded before stays in view while a later load fails; the failure stands above it. */
export function Query<Data>(props: {
  readonly of: Loaded<Data>;
  readonly children: (data: Data) => ReactNode;
}): ReactNode {
  const { data, error } = props.of;
  return (
    <>
      {error !== null && error !== undefined && <Failure error={error} retry={() => void props.of.refetch()} />}
      {data === undefined ? !error && <Loading /> : props.children(data)}
    </>
  );
}

export function Table(props: {
  readonly label: string;
  readonly head: readonly string[];
  readonly children: ReactNode;
}): ReactNode {
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by keyboard
    <section className="table" aria-label={props.label} tabIndex={0}>
      <table>
        <thead>
          <tr>
            {props.head.map((name) => (
              <th key={name} scope="col">
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>{props.children}</tbody>
      </table>
    </section>
  );
}

export function Empty(props: { readonly title: string; readonly children?: ReactNode }): ReactNode {
  return (
    <div className="empty">
      <h2>{props.title}</h2>
      {props.children}
    </div>
  );
}

/** A time in the viewer's zone. @param at seconds since 1970 */
export function Time(props: { readonly at: number }): ReactNode {
  const date = new Date(props.at * 1_000);
  return Number.isNaN(date.getTime()) ? (
    String(props.at)
  ) : (
    <time dateTime={date.toISOString()} title={date.toISOString()}>
      {date.toLocaleString()}
    </time>
  );
}

/** How long ago or from now. @param seconds negative: in the past */
export function inWords(seconds: number): string {
  const size = Math.abs(seconds);
  const [unit, length] = (
    [
      ["day", 86_400],
      ["hour", 3_600],
      ["minute", 60],
    ] as const
  ).find(([, length]) => size >= length) ?? ["second", 1];
  return new Intl.RelativeTimeFormat("en", { numeric: "auto" }).format(Math.round(seconds / length), unit);
}

/** A record by its key, with a link to it. */
export function RecordRef(props: { readonly of: string }): ReactNode {
  const { prefix } = useWho();
  return (
    <Link href={recordLink(props.of, prefix)}>
      <code>{recordName(props.of, prefix)}</code>
    </Link>
  );
}

export function CopyButton(props: { readonly text: string; readonly label?: string }): ReactNode {
  const [done, setDone] = useState(false);
  const copy = (): void => {
    navigator.clipboard.writeText(props.text).then(
      () => setDone(true),
      () => setDone(false),
    );
  };
  return (
    <button type="button" onClick={copy}>
      {done ? "Copied" : (props.label ?? "Copy")}
    </button>
  );
}

export interface DiffEntry {
  readonly op: string;
  readonly path: string;
  readonly from?: unknown;
  readonly to?: unknown;
}

const shown = (value: unknown): string => (typeof value === "string" ? value : JSON.stringify(value, null, 2));

/** What changed, place by place. */
export function Diff(props: { readonly entries: readonly DiffEntry[] }): ReactNode {
  if (props.entries.length === 0) return <p className="muted">Nothing changes.</p>;
  return (
    <ul className="diff">
      {props.entries.map((entry) => (
        <li key={`${entry.op} ${entry.path}`}>
          <code className="path">{entry.path === "" ? "/" : entry.path}</code>
          {entry.op === "cut" && <span className="muted"> and more, cut here</span>}
          {entry.from !== undefined && <del>{shown(entry.from)}</del>}
          {entry.to !== undefined && <ins>{shown(entry.to)}</ins>}
        </li>
      ))}
    </ul>
  );
}

/** Changes of records, as dry runs and the history have them. */
export function Changes(props: {
  readonly of: readonly { readonly key: string; readonly change: string; readonly diff?: readonly DiffEntry[] }[];
}): ReactNode {
  return props.of.map(({ key, change, diff }) => (
    <div className="change" key={key}>
      <p>
        <RecordRef of={key} /> <Badge tone={change === "deleted" ? "bad" : "plain"}>{change}</Badge>
      </p>
      {diff && <Diff entries={diff} />}
    </div>
  ));
}

export function Warnings(props: {
  readonly of: readonly { readonly code: string; readonly key: string; readonly message: string }[];
}): ReactNode {
  return props.of.map(({ code, key, message }) => (
    <Notice key={`${code} ${key} ${message}`} tone="warn" title={code.replaceAll("_", " ")}>
      <p>
        <RecordRef of={key} /> {message}
      </p>
    </Notice>
  ));
}
