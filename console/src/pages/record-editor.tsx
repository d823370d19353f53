/**
 * One record, as form and as JSON: check (diff and warnings by dry run), save under the revision that was seen, then which nodes serve it.
 */
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { lazy, type ReactNode, Suspense, useEffect, useRef, useState } from "react";
import { Link, useLocation } from "wouter";
import { type Answer, ApiError, call, encoded } from "../api/client.ts";
import { type Place, recordLink } from "../api/kinds.ts";
import { type LoadedRecord, readRecord, useMayWrite, type Written } from "../api/queries.ts";
import { draftOf, keepDraft } from "../drafts.ts";
import { Changes, CopyButton, Failure, Loading, Notice, Warnings } from "../ui/parts.tsx";
import { WhoServes } from "./who-serves.tsx";

const Workbench = lazy(() => import("../record/workbench.tsx"));

interface EditorProps {
  readonly place: Place;
  /** Undefined: it is new. */
  readonly loaded: LoadedRecord | undefined;
  readonly first?: Readonly<Record<string, unknown>>;
  /** Under which its draft is kept; default: its path. */
  readonly draftKey?: string;
  readonly reload: () => void;
}

const print = (value: unknown): string => JSON.stringify(value, null, 2);

function parse(text: string): { readonly value: unknown } | { readonly wrong: string } {
  try {
    return { value: JSON.parse(text) };
  } catch (error) {
    return { wrong: error instanceof Error ? error.message : String(error) };
  }
}

/** Of the record itself; all else is no fault of it. */
function refusalIn(failure: unknown): string | undefined {
  return failure instanceof ApiError && failure.status === 400 ? failure.message : undefined;
}

export function RecordEditor(props: EditorProps): ReactNode {
  const { place, loaded, reload } = props;
  const draftKey = props.draftKey ?? place.path;
  const original = print(loaded ? loaded.value : props.first);
  const [text, setText] = useState(draftOf(draftKey) ?? original);
  const [etag, setEtag] = useState(loaded?.etag);
  const [theirs, setTheirs] = useState<LoadedRecord>();
  const mayWrite = useMayWrite() && !place.kind.readOnly;
  const client = useQueryClient();
  // A new record is saved on one page and shown on another.
  const savedKey = ["saved", place.path];
  const [saved, setSaved] = useState(client.getQueryData<Answer<Written>>(savedKey));
  useEffect(() => client.removeQueries({ queryKey: ["saved"] }), [client]);
  const parsed = parse(text);
  const isChanged = text !== original;

  const edit = (next: string): void => {
    setText(next);
    keepDraft(draftKey, next === original ? undefined : next);
    for (const one of [check, save]) one.reset();
    setSaved(undefined);
  };
  const put = (value: unknown, query: Readonly<Record<string, string>>): Promise<Answer<Written>> =>
    call<Written>("PUT", `/${encoded(place.path)}`, {
      query,
      body: value,
      headers: etag === undefined ? { "If-None-Match": "*" } : { "If-Match": etag },
    });

  const onFailure = async (error: unknown): Promise<void> => {
    if (error instanceof ApiError && error.status === 412) setTheirs(await readRecord(place.path));
  };
  const check = useMutation({
    mutationFn: (value: unknown) => put(value, { dry_run: "1" }),
    onError: onFailure,
  });
  const save = useMutation({
    mutationFn: (value: unknown) => put(value, { wait: "all", timeout: "3s" }),
    onSuccess: async (answer) => {
      keepDraft(draftKey, undefined);
      setSaved(answer);
      check.reset();
      await client.invalidateQueries();
      if (!loaded) {
        client.setQueryData(savedKey, answer);
        return reload();
      }
      const now = await readRecord(place.path);
      setText(print(now.value));
      setEtag(now.etag);
      reload();
    },
    onError: onFailure,
  });
  const failure = save.error ?? check.error;
  const isConflict = failure instanceof ApiError && failure.status === 412;
  const results = useRef<HTMLDivElement>(null);
  // A form may be long: what a check or a save has said is brought to who asked.
  // biome-ignore lint/correctness/useExhaustiveDependencies: each of them is an answer
  useEffect(() => {
    if (results.current?.hasChildNodes()) results.current.scrollIntoView({ block: "start" });
  }, [check.data, failure, saved, theirs]);

  return (
    <>
      <div ref={results}>
        {isConflict && theirs && (
          <Conflict
            theirs={theirs}
            takeTheirs={() => {
              setEtag(theirs.etag);
              setText(print(theirs.value));
              keepDraft(draftKey, undefined);
              for (const one of [check, save]) one.reset();
            }}
            keepMine={() => {
              setEtag(theirs.etag);
              for (const one of [check, save]) one.reset();
            }}
          />
        )}
        {failure !== null && !isConflict && (
          <Failure error={failure} retry={() => (save.error ? save : check).reset()} />
        )}
        {saved && <Saved answer={saved} />}
        {check.data && (
          <section className="panel" aria-label="What would change">
            <h2>What would change</h2>
            <Warnings of={check.data.body.warnings ?? []} />
            <Changes of={check.data.body.changes ?? []} />
          </section>
        )}
      </div>
      <Suspense fallback={<Loading />}>
        <Workbench place={place} text={text} onChange={edit} readOnly={!mayWrite} refusal={refusalIn(failure)} />
      </Suspense>
      {"wrong" in parsed && <Notice tone="bad" title={`This is no JSON: ${parsed.wrong}`} />}
      <p className="actions bar">
        {mayWrite && (
          <>
            <button
              type="button"
              disabled={"wrong" in parsed || place.id === "" || check.isPending}
              onClick={() => "value" in parsed && check.mutate(parsed.value)}
            >
              Check
            </button>
            <button
              type="button"
              className="primary"
              disabled={!check.isSuccess || save.isPending}
              title={check.isSuccess ? undefined : "Check it first: the console shows what would change"}
              onClick={() => "value" in parsed && save.mutate(parsed.value)}
            >
              {save.isPending ? "Saving…" : "Save"}
            </button>
            <button type="button" disabled={!isChanged} onClick={() => edit(original)}>
              Undo all
            </button>
          </>
        )}
        <CopyButton text={text} label="Copy JSON" />
        {mayWrite && loaded && <RecordActions place={place} loaded={loaded} etag={etag ?? loaded.etag} />}
      </p>
    </>
  );
}

function Saved(props: { readonly answer: Answer<Written> }): ReactNode {
  const { status, body } = props.answer;
  return (
    <>
      <Notice
        tone={status === 202 ? "warn" : "good"}
        title={status === 202 ? "Saved, but not live everywhere" : "Saved"}
      >
        <WhoServes written={body} />
      </Notice>
      {body.generated && (
        <Notice tone="warn" title="Shown once: copy it now">
          {Object.entries(body.generated).map(([name, value]) => (
            <p key={name}>
              {name}: <code>{value}</code> <CopyButton text={value} />
            </p>
          ))}
        </Notice>
      )}
    </>
  );
}

function Conflict(props: {
  readonly theirs: LoadedRecord;
  readonly takeTheirs: () => void;
  readonly keepMine: () => void;
}): ReactNode {
  return (
    <Notice tone="bad" title="Somebody changed this record since you opened it">
      <p>Their version is below; yours is still in the editor. Nothing was overwritten.</p>
      <pre className="theirs">{print(props.theirs.value)}</pre>
      <p className="actions">
        <button type="button" onClick={props.keepMine}>
          Keep mine, and check it against theirs
        </button>
        <button type="button" onClick={props.takeTheirs}>
          Take theirs
        </button>
      </p>
    </Notice>
  );
}

/** Duplicate, disable, delete. */
function RecordActions(props: {
  readonly place: Place;
  readonly loaded: LoadedRecord;
  readonly etag: string;
}): ReactNode {
  const { place, loaded, etag } = props;
  const [, go] = useLocation();
  const client = useQueryClient();
  const [isAsking, setAsking] = useState(false);
  const [force, setForce] = useState(false);
  const path = `/${encoded(place.path)}`;
  const headers = { "If-Match": etag };
  const remove = useMutation({
    mutationFn: () =>
      call("DELETE", path, { headers, query: { wait: "all", timeout: "3s", ...(force && { force: "true" }) } }),
    onSuccess: async () => {
      keepDraft(place.path, undefined);
      go(recordLink(place.list));
      await client.invalidateQueries();
    },
  });
  const look = useMutation({
    mutationFn: () => call<Written>("DELETE", path, { query: { dry_run: "1", force: "true" }, headers }),
  });
  const isOff = loaded.value["status"] === 0;
  const toggle = useMutation({
    mutationFn: () =>
      call("PATCH", path, { body: { status: isOff ? 1 : 0 }, headers, query: { wait: "all", timeout: "3s" } }),
    onSuccess: async () => {
      await client.invalidateQueries();
    },
  });
  return (
    <>
      <Link className="button" href={`${recordLink(place.list)}?new&from=${encodeURIComponent(place.path)}`}>
        Duplicate
      </Link>
      {["routes", "ssls"].includes(place.kind.dir) && (
        <button type="button" disabled={toggle.isPending} onClick={() => toggle.mutate()}>
          {isOff ? "Enable" : "Disable"}
        </button>
      )}
      <button
        type="button"
        className="danger"
        onClick={() => {
          setAsking(true);
          look.mutate();
        }}
      >
        Delete…
      </button>
      {toggle.error && <Failure error={toggle.error} retry={() => toggle.reset()} />}
      {isAsking && (
        <section className="panel" aria-label="Delete">
          <h2>Delete {place.path}?</h2>
          {look.data && <Warnings of={look.data.body.warnings ?? []} />}
          {remove.error && <Failure error={remove.error} retry={() => remove.reset()} />}
          {(remove.error || (look.data?.body.warnings ?? []).length > 0) && (
            <label className="check">
              <input type="checkbox" checked={force} onChange={(event) => setForce(event.target.checked)} />
              Delete it although others refer to it
            </label>
          )}
          <p className="actions">
            <button type="button" className="danger" disabled={remove.isPending} onClick={() => remove.mutate()}>
              Delete
            </button>
            <button type="button" onClick={() => setAsking(false)}>
              Keep it
            </button>
          </p>
        </section>
      )}
    </>
  );
}
