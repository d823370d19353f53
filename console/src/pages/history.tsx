/**
 * Who changed what, when; and the way back, with a preview.
 */
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { type ReactNode, useState } from "react";
import { useSearchParams } from "wouter";
import { ask } from "../api/client.ts";
import { useHistory, useMayWrite } from "../api/queries.ts";
import { Badge, Changes, Empty, Failure, Notice, Page, Query, Table, Time, Warnings } from "../ui/parts.tsx";

interface Target {
  readonly revision: number;
  /** Undefined: the whole configuration. */
  readonly key: string | undefined;
}

export function HistoryPage(): ReactNode {
  const [params, setParams] = useSearchParams();
  const page = Math.max(1, Number(params.get("page")) || 1);
  const key = params.get("key") ?? "";
  const [actor, setActor] = useState("");
  const history = useHistory(page, key);
  const mayWrite = useMayWrite();
  const [target, setTarget] = useState<Target>();
  const show = (more: { readonly page?: number; readonly key?: string }): void =>
    setParams({ page: String(more.page ?? 1), ...((more.key ?? key) !== "" && { key: more.key ?? key }) });
  return (
    <Page title="History">
      <form
        className="filters"
        onSubmit={(event) => {
          event.preventDefault();
          show({ key: String(new FormData(event.currentTarget).get("key") ?? "").trim() });
        }}
      >
        <label>
          Record <input name="key" defaultValue={key} placeholder="routes/1" />
        </label>
        <button type="submit">Filter</button>
        <label>
          Actor on this page <input value={actor} onChange={(event) => setActor(event.target.value)} />
        </label>
      </form>
      {target && <RollBack to={target} done={() => setTarget(undefined)} />}
      <Query of={history}>
        {({ list, total }) => {
          const rows = list.filter((one) => one.actor.includes(actor.trim()));
          return total === 0 ? (
            <Empty title="No writes yet">
              <p>
                Every write through the Admin API leaves an entry here, with the name of its key and what it changed.
              </p>
            </Empty>
          ) : (
            <>
              <Table label="Writes" head={["When", "Who", "What", ""]}>
                {rows.map((one) => (
                  <tr key={one.revision}>
                    <td>
                      <Time at={one.time} />
                      <div className="muted">revision {one.revision}</div>
                    </td>
                    <td>
                      {one.actor}
                      <div className="muted">{one.address}</div>
                    </td>
                    <td>
                      <p className="muted">
                        <code>
                          {one.method} {one.path}
                        </code>
                        {one.resealed !== undefined && (
                          <Badge tone="plain">{`${one.resealed} records sealed anew`}</Badge>
                        )}
                        {one.revoked !== undefined && <Badge tone="plain">revocation</Badge>}
                      </p>
                      <Changes of={one.changes} />
                    </td>
                    <td className="actions">
                      {mayWrite && (
                        <>
                          {one.changes.slice(0, 1).map((change) => (
                            <button
                              key={change.key}
                              type="button"
                              onClick={() => setTarget({ revision: one.revision, key: change.key })}
                            >
                              Record to here…
                            </button>
                          ))}
                          <button type="button" onClick={() => setTarget({ revision: one.revision, key: undefined })}>
                            All to here…
                          </button>
                        </>
                      )}
                    </td>
                  </tr>
                ))}
              </Table>
              <p className="pager">
                <button type="button" disabled={page === 1} onClick={() => show({ page: page - 1 })}>
                  Newer
                </button>
                <span>
                  Page {page} of {Math.max(1, Math.ceil(total / 50))}, {total} writes
                </span>
                <button type="button" disabled={page * 50 >= total} onClick={() => show({ page: page + 1 })}>
                  Older
                </button>
              </p>
            </>
          );
        }}
      </Query>
    </Page>
  );
}

/** First what would change, then the change. */
function RollBack(props: { readonly to: Target; readonly done: () => void }): ReactNode {
  const { revision, key } = props.to;
  const client = useQueryClient();
  const roll = (isDry: boolean) =>
    ask("rollBack", {
      params: { revision: String(revision) },
      query: { ...(isDry ? { dry_run: "1" } : { wait: "all" }), ...(key !== undefined && { key }) },
    });
  const preview = useMutation({ mutationFn: () => roll(true) });
  const write = useMutation({
    mutationFn: () => roll(false),
    onSuccess: async () => {
      await client.invalidateQueries();
    },
  });
  const seen = write.data ?? preview.data;
  return (
    <section className="panel" aria-label="Roll back">
      <h2>
        Roll {key === undefined ? "everything" : <code>{key}</code>} back to revision {revision}
      </h2>
      {preview.error && <Failure error={preview.error} retry={() => preview.mutate()} />}
      {write.error && <Failure error={write.error} retry={() => write.mutate()} />}
      {write.isSuccess && <Notice tone="good" title="Rolled back" />}
      {seen && <Warnings of={seen.warnings} />}
      {seen && (seen.changes.length === 0 ? <p>Nothing would change.</p> : <Changes of={seen.changes} />)}
      <p className="actions">
        {!write.isSuccess && (
          <button type="button" disabled={preview.isPending} onClick={() => preview.mutate()}>
            Show what would change
          </button>
        )}
        {!write.isSuccess && preview.isSuccess && preview.data.changes.length > 0 && (
          <button type="button" className="danger" disabled={write.isPending} onClick={() => write.mutate()}>
            Roll back
          </button>
        )}
        <button type="button" onClick={props.done}>
          Close
        </button>
      </p>
    </section>
  );
}
