/**
 * The fields of forms. Promise: what is typed is in the record at once, also what is wrong, and comes back as it was typed.
 */
import type { FieldProps } from "@rjsf/utils";
import { type ReactNode, useState } from "react";
import { give, Labelled, printScalar, readScalar, same, useTyped } from "./field-parts.tsx";
import { NodesField } from "./nodes-field.tsx";
import { membersOf } from "./record-schema.ts";

/** From this length on a text has several lines. */
const LONG = 10_000;

function TextField(props: FieldProps): ReactNode {
  const { schema, formData, readonly } = props;
  const value = printScalar(formData);
  const put = (text: string): void => give(props, text === "" ? undefined : text);
  const isLong = (schema.maxLength ?? 0) >= LONG || value.includes("\n");
  if (schema.enum) return <ChoiceField {...props} />;
  return (
    <Labelled of={props}>
      {(given) =>
        isLong ? (
          <textarea
            {...given}
            rows={4}
            value={value}
            readOnly={readonly}
            onChange={(event) => put(event.target.value)}
          />
        ) : (
          <input {...given} value={value} readOnly={readonly} onChange={(event) => put(event.target.value)} />
        )
      }
    </Labelled>
  );
}

function ScalarField(props: FieldProps): ReactNode {
  const { formData, readonly } = props;
  return typeof formData === "object" && formData !== null ? (
    <JsonField {...props} />
  ) : (
    <Labelled of={props}>
      {(given) => (
        <input
          {...given}
          inputMode={props.schema.type === undefined ? "text" : "decimal"}
          value={printScalar(formData)}
          readOnly={readonly}
          onChange={(event) => give(props, readScalar(event.target.value))}
        />
      )}
    </Labelled>
  );
}

/** One of several values, or none of them. */
function ChoiceField(props: FieldProps): ReactNode {
  const { schema, formData, readonly } = props;
  const named: readonly unknown[] = schema.type === "boolean" ? [true, false] : (schema.enum ?? []);
  const all = formData === undefined || named.includes(formData) ? named : [...named, formData];
  return (
    <Labelled of={props}>
      {(given) => (
        <select
          {...given}
          disabled={readonly}
          value={formData === undefined ? "" : String(all.indexOf(formData))}
          onChange={(event) => give(props, event.target.value === "" ? undefined : all[Number(event.target.value)])}
        >
          <option value="">not set</option>
          {all.map((one, at) => (
            <option key={JSON.stringify(one)} value={at}>
              {printScalar(one)}
            </option>
          ))}
        </select>
      )}
    </Labelled>
  );
}

/** Several of some values; what else stands there stays. */
function ChoicesField(props: FieldProps): ReactNode {
  const { schema, formData, readonly, name } = props;
  const named = (membersOf(schema.items)["enum"] ?? []) as readonly unknown[];
  if (formData !== undefined && !Array.isArray(formData)) return <JsonField {...props} />;
  const chosen: readonly unknown[] = formData ?? [];
  const switchTo = (value: unknown, isOn: boolean): void => {
    const next = isOn ? [...chosen, value] : chosen.filter((one) => one !== value);
    give(props, next.length === 0 ? undefined : next);
  };
  return (
    <fieldset className="choices">
      <legend>{name}</legend>
      {schema.description !== undefined && <p className="muted">{schema.description}</p>}
      {named.map((value) => (
        <label key={JSON.stringify(value)} className="check">
          <input
            type="checkbox"
            disabled={readonly}
            checked={chosen.includes(value)}
            onChange={(event) => switchTo(value, event.target.checked)}
          />
          {printScalar(value)}
        </label>
      ))}
    </fieldset>
  );
}

function LinesField(props: FieldProps): ReactNode {
  const { formData, readonly } = props;
  const isLines =
    formData === undefined ||
    (Array.isArray(formData) && formData.every((one) => typeof one === "string" && one !== "" && !one.includes("\n")));
  const [text, type] = useTyped(
    props,
    (value) => (Array.isArray(value) ? value.join("\n") : ""),
    (typed) => {
      const lines = typed.split("\n").filter((line) => line !== "");
      return lines.length === 0 ? undefined : lines;
    },
  );
  if (!isLines) return <JsonField {...props} />;
  return (
    <Labelled of={{ ...props, name: `${props.name}, one a line` }}>
      {(given) => (
        <textarea
          {...given}
          rows={Math.min(8, Math.max(1, text.split("\n").length))}
          value={text}
          readOnly={readonly}
          spellCheck={false}
          onChange={(event) => type(event.target.value)}
        />
      )}
    </Labelled>
  );
}

/** Anything, as JSON. */
function JsonField(props: FieldProps): ReactNode {
  const [wrong, setWrong] = useState<{ readonly text: string; readonly of: unknown }>();
  const print = (value: unknown): string => (value === undefined ? "" : JSON.stringify(value));
  const [text, type] = useTyped(props, print, (typed) => (typed.trim() === "" ? undefined : JSON.parse(typed)));
  const isWrong = wrong !== undefined && same(wrong.of, props.formData);
  const change = (next: string): void => {
    try {
      type(next);
      setWrong(undefined);
    } catch {
      setWrong({ text: next, of: props.formData });
    }
  };
  return (
    <Labelled
      of={{ ...props, name: `${props.name} (JSON)` }}
      wrong={isWrong ? "This is no JSON yet: the record has the last that was." : undefined}
    >
      {(given) => (
        <textarea
          {...given}
          rows={2}
          spellCheck={false}
          value={isWrong ? wrong.text : text}
          readOnly={props.readonly}
          onChange={(event) => change(event.target.value)}
        />
      )}
    </Labelled>
  );
}

type Rows = readonly (readonly [name: string, value: string])[];

/** Names and values. */
function MapField(props: FieldProps): ReactNode {
  const { formData, readonly, name, schema } = props;
  const print = (value: unknown): Rows => Object.entries(membersOf(value)).map(([key, one]) => [key, printScalar(one)]);
  const [rows, type] = useTyped<Rows>(props, print, (typed) => {
    const before = membersOf(formData);
    const given = typed.filter(([key]) => key !== "");
    const read = (key: string, text: string): unknown => {
      const former = Object.hasOwn(before, key) ? before[key] : undefined;
      if (printScalar(former) === text && former !== undefined) return former;
      return schema.$comment === "text" ? text : (readScalar(text) ?? "");
    };
    return given.length === 0 && formData === undefined
      ? undefined
      : Object.fromEntries(given.map(([key, text]) => [key, read(key, text)]));
  });
  if (formData !== undefined && (typeof formData !== "object" || formData === null || Array.isArray(formData)))
    return <JsonField {...props} />;
  const put = (at: number, row: Rows[number] | undefined): void =>
    type(rows.flatMap((one, index) => (index !== at ? [one] : row === undefined ? [] : [row])));
  return (
    <fieldset className="list">
      <legend>{name}</legend>
      {schema.description !== undefined && <p className="muted">{schema.description}</p>}
      {rows.map(([key, value], at) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: rows are told apart by their place; names may be the same while typed
        <div className="pair" key={at}>
          <input
            aria-label={`Name ${at + 1} of ${name}`}
            value={key}
            readOnly={readonly}
            onChange={(event) => put(at, [event.target.value, value])}
          />
          <input
            aria-label={`Value of ${key === "" ? `number ${at + 1}` : key} in ${name}`}
            value={value}
            readOnly={readonly}
            onChange={(event) => put(at, [key, event.target.value])}
          />
          {!readonly && (
            <button type="button" onClick={() => put(at, undefined)} aria-label={`Remove ${key} from ${name}`}>
              Remove
            </button>
          )}
        </div>
      ))}
      {!readonly && (
        <button type="button" onClick={() => type([...rows, ["", ""]])}>
          Add to {name}
        </button>
      )}
    </fieldset>
  );
}

export const FIELDS = {
  ...{ text: TextField, flag: ChoiceField, scalar: ScalarField, json: JsonField, map: MapField },
  ...{ lines: LinesField, choices: ChoicesField, nodes: NodesField },
};
