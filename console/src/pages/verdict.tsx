/**
 * What a node said that it would do, step by step.
 */
import type { ReactNode } from "react";
import type { Operations } from "../api/generated.ts";
import { Badge, Notice, RecordRef, Table } from "../ui/parts.tsx";

type Facts = Readonly<Record<string, unknown>>;

const list = (value: unknown): readonly Facts[] => (Array.isArray(value) ? (value as readonly Facts[]) : []);
const word = (value: unknown): string =>
  typeof value === "string" ? value : value === undefined ? "" : JSON.stringify(value);

/** Of a step: all that it says beside its name. */
const rest = (facts: Facts, ...without: readonly string[]): string =>
  Object.entries(facts)
    .filter(([name]) => !without.includes(name))
    .map(([name, value]) => `${name}: ${word(value)}`)
    .join(", ");

export function Verdict(props: { readonly of: Operations["explain"]["answer"] }): ReactNode {
  const facts: Facts = props.of;
  const verdict = word(facts["verdict"]);
  const status = facts["status"] === undefined ? "" : ` with ${word(facts["status"])}`;
  const from = facts["from"];
  return (
    <section className="panel" aria-label="Verdict">
      <Notice tone={verdict === "forwarded" ? "good" : "warn"} title={`${verdict}${status}`}>
        <p>
          {word(facts["reason"])} {facts["plugin"] !== undefined && `by ${word(facts["plugin"])}`}{" "}
          {typeof from === "string" && <RecordRef of={from} />}
        </p>
        {facts["route"] !== undefined && (
          <p>
            Route <RecordRef of={`routes/${word(facts["route"])}`} />
          </p>
        )}
        {facts["upstream"] !== undefined && <p>Upstream: {rest(Object(facts["upstream"]) as Facts)}</p>}
      </Notice>
      {list(facts["plugins"]).length > 0 && (
        <Table label="Plugins in order" head={["Plugin", "Phase", "From", "Did", "Why"]}>
          {list(facts["plugins"]).map((one) => (
            <tr key={`${word(one["plugin"])} ${word(one["phase"])} ${word(one["from"])}`}>
              <td>{word(one["plugin"])}</td>
              <td>{word(one["phase"])}</td>
              <td>{typeof one["from"] === "string" && <RecordRef of={one["from"]} />}</td>
              <td>{word(one["did"])}</td>
              <td>{rest(one, "plugin", "phase", "from", "did")}</td>
            </tr>
          ))}
        </Table>
      )}
      {list(facts["steps"]).length > 0 && (
        <Table label="The token, step by step" head={["Step", "Result", "What"]}>
          {list(facts["steps"]).map((one) => (
            <tr key={word(one["step"])}>
              <td>{word(one["step"])}</td>
              <td>{one["ok"] === true ? <Badge tone="good">good</Badge> : <Badge tone="bad">not good</Badge>}</td>
              <td>{rest(one, "step", "ok")}</td>
            </tr>
          ))}
        </Table>
      )}
      {list(facts["near"]).length > 0 && (
        <Table label="Why not the others" head={["Route", "Why not"]}>
          {list(facts["near"]).map((one) => (
            <tr key={word(one["route"])}>
              <td>
                <RecordRef of={`routes/${word(one["route"])}`} />
              </td>
              <td>{word(one["why"])}</td>
            </tr>
          ))}
        </Table>
      )}
      {facts["answer"] !== undefined && <pre>{JSON.stringify(facts["answer"], null, 2)}</pre>}
      <p className="muted">
        Judged by {word(facts["node"])} at revision {word(facts["revision"])}.{" "}
        {props.of.nodes_behind.length > 0 && `Behind it: ${props.of.nodes_behind.join(", ")}.`}
      </p>
    </section>
  );
}
