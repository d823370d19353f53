/**
 * The plugins of a record, each with its form, and the catalogue that others are chosen from.
 */
import { type FieldProps, toFieldPathId } from "@rjsf/utils";
import { type ReactNode, useId, useState } from "react";
import { PLUGIN_SUMMARIES } from "../api/generated.ts";
import { Badge } from "../ui/parts.tsx";
import { type FormContext, give } from "./field-parts.tsx";
import { partForm } from "./form-schema.ts";
import { membersOf } from "./record-schema.ts";

const summaryOf = (name: string): string =>
  Object.hasOwn(PLUGIN_SUMMARIES, name) ? (PLUGIN_SUMMARIES[name] ?? "") : "";

export function PluginsField(props: FieldProps): ReactNode {
  const { formData, readonly, registry, fieldPathId } = props;
  const { plugins = {} } = registry.formContext as FormContext;
  const { SchemaField } = registry.fields;
  const given = membersOf(formData);
  const [opened, setOpened] = useState<string>();
  const remove = (name: string): void => {
    const { [name]: _, ...rest } = given;
    give(props, rest);
  };
  return (
    <fieldset className="list plugins">
      <legend>plugins</legend>
      {Object.entries(given).map(([name, conf]) => {
        const schema = Object.hasOwn(plugins, name) ? plugins[name] : undefined;
        return (
          <details key={name} className="group" open={opened === name}>
            <summary>
              <span>{name}</span>{" "}
              {membersOf(membersOf(conf)["_meta"])["disable"] === true && <Badge tone="warn">disabled</Badge>}{" "}
              <span className="muted">{Object.keys(membersOf(conf)).join(", ")}</span>
            </summary>
            <p className="muted">{schema ? summaryOf(name) : "This node has no such plugin: edit it as JSON."}</p>
            {schema && SchemaField && (
              <SchemaField
                {...props}
                name={name}
                schema={partForm(schema)}
                uiSchema={{}}
                formData={conf}
                errorSchema={(props.errorSchema as Record<string, object> | undefined)?.[name] ?? {}}
                fieldPathId={toFieldPathId(name, registry.globalFormOptions, fieldPathId.path)}
                required
              />
            )}
            {!readonly && (
              <button type="button" onClick={() => remove(name)}>
                Remove {name}
              </button>
            )}
          </details>
        );
      })}
      {!readonly && (
        <Catalogue
          names={Object.keys(plugins).filter((name) => !Object.hasOwn(given, name))}
          add={(name) => {
            setOpened(name);
            give(props, { ...given, [name]: {} });
          }}
        />
      )}
    </fieldset>
  );
}

function Catalogue(props: { readonly names: readonly string[]; readonly add: (name: string) => void }): ReactNode {
  const [search, setSearch] = useState("");
  const id = useId();
  const word = search.toLowerCase();
  const found = props.names.filter((name) => `${name} ${summaryOf(name)}`.toLowerCase().includes(word)).sort();
  return (
    <details className="group catalogue">
      <summary>Add a plugin…</summary>
      <label htmlFor={id}>Search plugins</label>
      <input id={id} type="search" value={search} onChange={(event) => setSearch(event.target.value)} />
      <ul aria-label="Catalogue of plugins">
        {found.map((name) => (
          <li key={name}>
            <button type="button" onClick={() => props.add(name)} aria-label={`Add ${name}`}>
              {name}
            </button>{" "}
            <span className="muted">{summaryOf(name)}</span>
          </li>
        ))}
      </ul>
      {found.length === 0 && <p className="muted">No plugin has this word.</p>}
    </details>
  );
}
