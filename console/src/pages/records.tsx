/**
 * Records: lists with search and paging by the server, and the way to each of them.
 */
import type { ReactNode } from "react";
import { Link, useLocation, useSearchParams } from "wouter";
import { ApiError } from "../api/client.ts";
import { KINDS, type Place, placeOf, recordLink } from "../api/kinds.ts";
import {
  type ListFilter,
  PAGE_SIZE,
  type RecordEntry,
  useMayWrite,
  useRecord,
  useRecords,
  useWho,
} from "../api/queries.ts";
import { keepText, useKept } from "../drafts.ts";
import { Badge, Empty, Failure, Loading, Notice, Page, Query, Table, Time } from "../ui/parts.tsx";
import { RecordEditor } from "./record-editor.tsx";
import { RecordPanel } from "./record-panels.tsx";

export function RecordsPage(props: { readonly path: string }): ReactNode {
  const [params] = useSearchParams();
  const place = placeOf(decodeURIComponent(props.path));
  return (
    <div className="with-side">
      <KindList here={place?.kind.dir} />
      <div>
        {!place ? (
          <Page title="No such kind of record">
            <Notice tone="plain">
              <p>
                <code>{decodeURIComponent(props.path)}</code> names no kind of record and no record.
              </p>
            </Notice>
          </Page>
        ) : place.id !== undefined ? (
          <OneRecord key={place.path} place={place} />
        ) : params.has("new") ? (
          <NewRecord key={place.list} place={place} />
        ) : (
          <RecordTable key={place.list} place={place} />
        )}
      </div>
    </div>
  );
}

function KindList(props: { readonly here: string | undefined }): ReactNode {
  return (
    <nav className="side" aria-label="Kinds of records">
      {KINDS.map(({ dir, title }) => (
        <Link key={dir} href={`/records/${dir}`} {...(dir === props.here && { "aria-current": "page" as const })}>
          {title}
        </Link>
      ))}
    </nav>
  );
}

function filterIn(params: URLSearchParams): ListFilter {
  const text = (name: string): string => params.get(name) ?? "";
  return {
    page: Math.max(1, Number(params.get("page")) || 1),
    ...{ search: text("search"), label: text("label"), uri: text("uri") },
  };
}

function RecordTable(props: { readonly place: Place }): ReactNode {
  const { kind, list } = props.place;
  const [params, setParams] = useSearchParams();
  const filter = filterIn(params);
  const records = useRecords(list, filter);
  const mayWrite = useMayWrite();
  const isFiltered = filter.search !== "" || filter.label !== "" || filter.uri !== "";
  const show = (more: Partial<ListFilter>): void => {
    const next = { ...filter, page: 1, ...more };
    setParams(
      Object.entries(next).flatMap(([name, value]) => (value === "" || value === 1 ? [] : [[name, String(value)]])),
    );
  };
  const isMissing = records.error instanceof ApiError && records.error.status === 404;
  const shown = isMissing ? { ...records, data: { list: [], total: 0 }, error: null } : records;
  return (
    <Page
      title={list === kind.dir ? kind.title : `${kind.title} of ${list.split("/")[1]}`}
      aside={
        mayWrite &&
        !kind.readOnly && (
          <Link className="button primary" href={`${recordLink(list)}?new`}>
            New {kind.one}
          </Link>
        )
      }
    >
      <form
        className="filters"
        onSubmit={(event) => {
          event.preventDefault();
          const given = new FormData(event.currentTarget);
          const text = (name: string): string => String(given.get(name) ?? "").trim();
          show({ search: text("search"), label: text("label"), uri: text("uri") });
        }}
      >
        <label>
          Search <input type="search" name="search" defaultValue={filter.search} placeholder="id, name, path, host" />
        </label>
        <label>
          Label <input name="label" defaultValue={filter.label} />
        </label>
        {kind.dir === "routes" && (
          <label>
            Path pattern <input name="uri" defaultValue={filter.uri} placeholder="^/api/" />
          </label>
        )}
        <button type="submit">Search</button>
      </form>
      <Query of={shown}>
        {({ list: entries, total }) =>
          total === 0 ? (
            <Empty title={isFiltered ? "Nothing fits" : `No ${kind.title.toLowerCase()} yet`}>
              <p>{isFiltered ? "Search for less, or for another word." : kind.about}</p>
              {!isFiltered && kind.dir === "routes" && mayWrite && <FirstRoute />}
            </Empty>
          ) : (
            <>
              <Table label={kind.title} head={["Id", "Name", "What", "Changed"]}>
                {entries.map((entry) => (
                  <Row key={entry.key} entry={entry} />
                ))}
              </Table>
              <p className="pager">
                <button type="button" disabled={filter.page === 1} onClick={() => show({ page: filter.page - 1 })}>
                  Previous
                </button>
                <span>
                  Page {filter.page} of {Math.ceil(total / PAGE_SIZE)}, {total} in all
                </span>
                <button
                  type="button"
                  disabled={filter.page * PAGE_SIZE >= total}
                  onClick={() => show({ page: filter.page + 1 })}
                >
                  Next
                </button>
              </p>
            </>
          )
        }
      </Query>
    </Page>
  );
}

/** The first route in three steps. */
function FirstRoute(): ReactNode {
  return (
    <ol>
      <li>Say which path it takes, such as /hello, and where its requests go: host and port of a server of yours.</li>
      <li>Check it: the console shows what would change and what is suspicious about it.</li>
      <li>Save it: every node serves it within a blink, and you see which ones do.</li>
    </ol>
  );
}

const text = (value: unknown): string =>
  typeof value === "string"
    ? value
    : Array.isArray(value)
      ? value.filter((one) => typeof one === "string").join(", ")
      : "";

function Row(props: { readonly entry: RecordEntry }): ReactNode {
  const { key } = props.entry;
  // What lies in the store may be anything: other programs write there too.
  const value = Object(props.entry.value) as Readonly<Record<string, unknown>>;
  const { prefix } = useWho();
  const plugins = Object.keys(Object(value["plugins"]) as object);
  const changed = value["update_time"];
  return (
    <tr>
      <td>
        <Link href={recordLink(key, prefix)}>
          <code>{key.slice(key.lastIndexOf("/") + 1)}</code>
        </Link>
      </td>
      <td>
        {text(value["name"])}
        {value["status"] === 0 && <Badge tone="warn">disabled</Badge>}
        {text(value["desc"]) !== "" && <div className="muted">{text(value["desc"])}</div>}
      </td>
      <td>
        {[
          value["methods"],
          value["hosts"] ?? value["host"],
          value["uris"] ?? value["uri"],
          value["snis"] ?? value["sni"],
          value["issuer"],
        ]
          .map(text)
          .filter((one) => one !== "")
          .join(" ")}
        {plugins.length > 0 && <div className="muted">{plugins.join(", ")}</div>}
      </td>
      <td>{typeof changed === "number" && <Time at={changed} />}</td>
    </tr>
  );
}

function OneRecord(props: { readonly place: Place }): ReactNode {
  const { place } = props;
  const record = useRecord(place.path);
  const isMissing = record.error instanceof ApiError && record.error.status === 404;
  return (
    <Page
      title={`${place.kind.one} ${place.id}`}
      aside={
        <>
          {place.kind.dir === "consumers" && (
            <Link className="button" href={`${recordLink(place.path)}/credentials`}>
              Credentials
            </Link>
          )}
          <Link className="button" href={`/history?key=${encodeURIComponent(place.path)}`}>
            History
          </Link>
        </>
      }
    >
      {record.data ? (
        <>
          <RecordEditor place={place} loaded={record.data} reload={() => void record.refetch()} />
          <RecordPanel place={place} />
        </>
      ) : isMissing ? (
        <Notice tone="plain" title="There is no such record">
          <p>
            It was deleted, or never existed.{" "}
            <Link href={recordLink(place.list)}>See all {place.kind.title.toLowerCase()}.</Link>
          </p>
        </Notice>
      ) : record.error ? (
        <Failure error={record.error} retry={() => void record.refetch()} />
      ) : (
        <Loading />
      )}
    </Page>
  );
}

function NewRecord(props: { readonly place: Place }): ReactNode {
  const { kind, list } = props.place;
  const [params] = useSearchParams();
  const [, go] = useLocation();
  const copied = params.get("from");
  const source = useRecord(copied ?? "");
  const [id, setId] = useKept(`${list}?new id`);
  if (copied !== null && !source.data) return source.error ? <Failure error={source.error} /> : <Loading />;
  const { id: _id, create_time: _c, update_time: _u, ...copy } = source.data?.value ?? {};
  const path = `${list}/${id.trim()}`;
  return (
    <Page title={copied === null ? `New ${kind.one}` : `Duplicate of ${copied}`}>
      <p className="muted">{kind.about}</p>
      <label className="inline">
        {kind.id === "username" ? "Username" : `Id (${kind.id})`}{" "}
        <input value={id} onChange={(event) => setId(event.target.value)} spellCheck={false} required />
      </label>
      <RecordEditor
        place={{ ...props.place, id: id.trim(), path }}
        draftKey={`${list}?new`}
        loaded={undefined}
        first={copied === null ? kind.example : copy}
        reload={() => {
          keepText(`${list}?new id`, "");
          go(recordLink(path));
        }}
      />
    </Page>
  );
}
