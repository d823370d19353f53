/**
 * The cluster at a glance: nodes, traffic, refusals, tokens, what needs somebody.
 */
import { type ReactNode, useState } from "react";
import { Link } from "wouter";
import { useNodes, useOverview, useProblems } from "../api/queries.ts";
import { Badge, Empty, inWords, Notice, Page, Query, RecordRef, Table, Time } from "../ui/parts.tsx";
import { duration, perSecond } from "../ui/units.ts";
import { OverviewCharts } from "./overview-charts.tsx";

export function Overview(): ReactNode {
  const overview = useOverview();
  const nodes = useNodes();
  return (
    <Page title="Overview">
      <Attention />
      <Query of={overview}>
        {({ points, requests, refused, tokens }) => {
          const last = points.at(-1);
          return (
            <>
              <div className="tiles">
                <Tile name="Requests" value={last ? perSecond(last.requests) : "…"} />
                <Tile name="Errors (5xx)" value={last ? perSecond(last.failed) : "…"} />
                <Tile name="Refused" value={last ? perSecond(last.refused) : "…"} />
                <Tile name="p50" value={last ? duration(last.p50) : "…"} />
                <Tile name="p99" value={last ? duration(last.p99) : "…"} />
              </div>
              {points.length > 1 && <OverviewCharts points={points} />}
              {!last && (
                <p className="muted">
                  Counting begins when somebody looks, and goes on for an hour after: the first numbers come within five
                  seconds.
                </p>
              )}
              <div className="columns">
                <Rates title="Answers" of={requests} empty="No requests in the last seconds." />
                <Rates title="Refusals by reason" of={refused} empty="Nothing was refused in the last seconds." />
                <Rates title="Tokens" of={tokens} empty="No tokens were judged in the last seconds." />
              </div>
            </>
          );
        }}
      </Query>
      <h2>Nodes</h2>
      <Query of={nodes}>
        {({ list, revision }) =>
          list.length === 0 ? (
            <Empty title="No gateway node is registered">
              <p>
                Start one: <code>jotgate gateway --etcd …</code>. It appears here within a second of being ready.
              </p>
            </Empty>
          ) : (
            <NodeTable
              list={list}
              revision={revision ?? 0}
              rates={overview.data?.nodes}
              silent={overview.data?.silent}
            />
          )
        }
      </Query>
    </Page>
  );
}

type NodeRow = NonNullable<ReturnType<typeof useNodes>["data"]>["list"][number];

function NodeTable(props: {
  readonly list: readonly NodeRow[];
  readonly revision: number;
  readonly rates: Readonly<Record<string, number>> | undefined;
  readonly silent: readonly string[] | undefined;
}): ReactNode {
  const [filter, setFilter] = useState("");
  const shown = props.list.filter((node) => `${node.id} ${node.address}`.includes(filter));
  const now = Date.now() / 1_000;
  return (
    <>
      <p className="muted">
        {props.list.length} {props.list.length === 1 ? "node" : "nodes"}; the store is at revision {props.revision}.
      </p>
      {props.list.length > 10 && (
        <label className="inline">
          Filter nodes <input type="search" value={filter} onChange={(event) => setFilter(event.target.value)} />
        </label>
      )}
      <Table
        label="Gateway nodes"
        head={["Node", "State", "Requests", "Revision", "Workers", "Problems", "Version", "Started"]}
      >
        {shown.map((node) => (
          <tr key={node.id}>
            <td>
              <code>{node.id}</code>
              <div className="muted">{node.address}</div>
            </td>
            <td>
              {props.silent?.includes(node.id) ? (
                <Badge tone="bad">does not answer</Badge>
              ) : node.lag > 0 ? (
                <Badge tone="warn">{`${node.lag} behind`}</Badge>
              ) : (
                <Badge tone="good">in step</Badge>
              )}
            </td>
            <td>{perSecond(props.rates?.[node.id] ?? 0)}</td>
            <td>{node.applied}</td>
            <td>{node.workers ?? 1}</td>
            <td>{node.problems === 0 ? "0" : <Link href="/problems">{node.problems}</Link>}</td>
            <td>{node.version}</td>
            <td>
              <span title={new Date(node.started * 1_000).toLocaleString()}>{inWords(node.started - now)}</span>
            </td>
          </tr>
        ))}
      </Table>
    </>
  );
}

/** What needs somebody; nothing where nothing does. */
function Attention(): ReactNode {
  const { data: seen } = useOverview();
  const { data: problems } = useProblems();
  return (
    <>
      {problems && problems.total > 0 && (
        <Notice tone="bad" title={`${problems.total} ${problems.total === 1 ? "record" : "records"} cannot be used`}>
          <p>
            <Link href="/problems">See each with its reason.</Link>
          </p>
        </Notice>
      )}
      {seen?.unhealthy.map(({ record, target, status, nodes }) => (
        <Notice key={`${record} ${target}`} tone="warn" title={`${target} is ${status.replace("_", " ")}`}>
          <p>
            Target of <RecordRef of={record} />, as {nodes.length === 1 ? "one node sees" : `${nodes.length} nodes see`}{" "}
            it.
          </p>
        </Notice>
      ))}
      {seen?.expiring.map(({ key, names, ends }) => (
        <Notice
          key={key}
          tone="warn"
          title={ends * 1_000 < Date.now() ? "A certificate has ended" : "A certificate ends soon"}
        >
          <p>
            <RecordRef of={key} /> for {names.join(", ")}: <Time at={ends} /> ({inWords(ends - Date.now() / 1_000)})
          </p>
        </Notice>
      ))}
      {seen?.keys.map(({ server, algorithm, ends }) => (
        <Notice
          key={`${server} ${algorithm}`}
          tone="warn"
          title={ends * 1_000 < Date.now() ? "A signing key has ended" : "A signing key ends soon"}
        >
          <p>
            The {algorithm} key of <RecordRef of={`authorization_servers/${server}`} />: <Time at={ends} /> (
            {inWords(ends - Date.now() / 1_000)}), and none follows.
          </p>
        </Notice>
      ))}
    </>
  );
}

function Tile(props: { readonly name: string; readonly value: string }): ReactNode {
  return (
    <section className="tile" aria-label={props.name}>
      <h2>{props.name}</h2>
      <p>{props.value}</p>
    </section>
  );
}

function Rates(props: {
  readonly title: string;
  readonly of: Readonly<Record<string, number>>;
  readonly empty: string;
}): ReactNode {
  const rows = Object.entries(props.of).sort(([, a], [, b]) => b - a);
  return (
    <section>
      <h2>{props.title}</h2>
      {rows.length === 0 ? (
        <p className="muted">{props.empty}</p>
      ) : (
        <dl className="rates">
          {rows.map(([name, value]) => (
            <div key={name}>
              <dt>{name.replaceAll("_", " ")}</dt>
              <dd>{perSecond(value)}</dd>
            </div>
          ))}
        </dl>
      )}
    </section>
  );
}
