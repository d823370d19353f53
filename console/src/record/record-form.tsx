/**
 * A record as a form, by @rjsf with our own fields and frames.
 * Promise: only what a person changed is changed; members that the form does not know stay as they are.
 */
import Form from "@rjsf/core/lib/components/Form.js";
import {
  type ArrayFieldItemTemplateProps,
  type ArrayFieldTemplateProps,
  type ErrorSchema,
  type FieldTemplateProps,
  getUiOptions,
  type ObjectFieldTemplateProps,
  type RJSFSchema,
  type ValidatorType,
} from "@rjsf/utils";
import { type ReactNode, useMemo, useState } from "react";
import type { FormContext } from "./field-parts.tsx";
import { FIELDS } from "./form-fields.tsx";
import { recordForm } from "./form-schema.ts";
import { type Fault, isValid } from "./judge.ts";
import { PluginsField } from "./plugins-field.tsx";
import { membersOf, type RecordSchema, type Schema } from "./record-schema.ts";

/** Asked which conditional members are shown; what is wrong is judged elsewhere. */
const VALIDATOR: ValidatorType = {
  validateFormData: () => ({ errors: [], errorSchema: {} }),
  isValid: (schema, value) => isValid(schema as Schema, value ?? {}),
  rawValidation: () => ({}),
};

function FieldFrame(props: FieldTemplateProps): ReactNode {
  const { children, schema, rawErrors = [], id, hidden } = props;
  if (hidden) return null;
  return (
    <div className={rawErrors.length > 0 ? "field wrong" : "field"} data-type={String(schema.type ?? "")}>
      {children}
      {rawErrors.length > 0 && (
        <p className="field-error" id={`${id}__error`}>
          {rawErrors.join(" ")}
        </p>
      )}
    </div>
  );
}

/** Members that there are, then a drawer with those that there could be. */
function ObjectFrame(props: ObjectFieldTemplateProps): ReactNode {
  const { title, schema, fieldPathId, formData, required } = props;
  const { path } = fieldPathId;
  const given = Object.keys(membersOf(formData));
  const isFramed = path.length > 0 && !(path.length === 2 && path[0] === "plugins");
  if (!isFramed) return <Members {...props} />;
  return (
    <details className="group" open={given.length > 0 || required === true}>
      <summary>
        <span>{title}</span> <span className="muted">{given.join(", ")}</span>
      </summary>
      {schema.description !== undefined && <p className="muted">{schema.description}</p>}
      <Members {...props} />
    </details>
  );
}

function Members(props: ObjectFieldTemplateProps): ReactNode {
  const { properties, schema, formData } = props;
  // As it was at first: a field must not move away from who types into it.
  const [first] = useState(() => {
    const members = membersOf(formData);
    const { required = [], properties: named = {} } = schema;
    const isShown = (name: string): boolean =>
      Object.hasOwn(members, name) || required.includes(name) || membersOf(named[name])["$id"] === "plugins";
    return new Set(properties.map(({ name }) => name).filter(isShown));
  });
  const others = properties.filter(({ name }) => !first.has(name));
  return (
    <div className="members">
      {properties.filter(({ name }) => first.has(name)).map((one) => one.content)}
      {others.length > 0 && (
        <details className="group more" open={first.size === 0}>
          <summary>
            <span>More</span> <span className="muted">{others.map(({ name }) => name).join(", ")}</span>
          </summary>
          <div className="members">{others.map((one) => one.content)}</div>
        </details>
      )}
    </div>
  );
}

function ListFrame(props: ArrayFieldTemplateProps): ReactNode {
  const { title, items, canAdd, onAddClick, schema, readonly, uiSchema } = props;
  return (
    <fieldset className="list">
      <legend>{getUiOptions(uiSchema).title ?? title}</legend>
      {schema.description !== undefined && <p className="muted">{schema.description}</p>}
      {items}
      {canAdd && !readonly && (
        <button type="button" onClick={onAddClick}>
          Add one to {title}
        </button>
      )}
    </fieldset>
  );
}

function ItemFrame(props: ArrayFieldItemTemplateProps): ReactNode {
  const { children, buttonsProps, index, readonly } = props;
  return (
    <div className="item">
      <div>{children}</div>
      {buttonsProps.hasRemove && !readonly && (
        <button type="button" onClick={buttonsProps.onRemoveItem}>
          Remove number {index + 1}
        </button>
      )}
    </div>
  );
}

const TEMPLATES = {
  FieldTemplate: FieldFrame,
  ObjectFieldTemplate: ObjectFrame,
  ArrayFieldTemplate: ListFrame,
  ArrayFieldItemTemplate: ItemFrame,
};
const ALL_FIELDS = { ...FIELDS, plugins: PluginsField };

/** Nothing is filled in that nobody typed. */
const BEHAVIOUR = {
  arrayMinItems: { populate: "never" },
  allOf: "skipDefaults",
  constAsDefaults: "never",
  emptyObjectFields: "skipDefaults",
} as const;

interface RecordFormProps {
  readonly of: RecordSchema;
  readonly value: Readonly<Record<string, unknown>>;
  readonly faults: readonly Fault[];
  readonly readOnly: boolean;
  readonly onChange: (value: unknown) => void;
}

export function RecordForm(props: RecordFormProps): ReactNode {
  const { of, value, faults, readOnly, onChange } = props;
  const form = useMemo(() => recordForm(of.schema, of.plugins !== undefined), [of]);
  const errors = useMemo(() => errorTree(faults), [faults]);
  const context: FormContext = { plugins: of.plugins };
  return (
    <Form
      schema={form as RJSFSchema}
      formData={value}
      formContext={context}
      validator={VALIDATOR}
      fields={ALL_FIELDS}
      templates={TEMPLATES}
      readonly={readOnly}
      extraErrors={errors}
      onChange={({ formData }, id) => {
        if (id !== undefined) onChange(asTyped(value, formData));
      }}
      experimental_defaultFormStateBehavior={BEHAVIOUR}
      {...{ tagName: "div", noValidate: true, noHtml5Validate: true, showErrorList: false, idPrefix: "record" }}
    >
      {/* no button of its own */}
      <span />
    </Form>
  );
}

function errorTree(faults: readonly Fault[]): ErrorSchema {
  const root: Record<string, unknown> = Object.create(null);
  for (const { path, message } of faults) {
    let at = root;
    for (const part of path) {
      const next = Object.hasOwn(at, part) ? at[part] : undefined;
      const child = (next ?? Object.create(null)) as Record<string, unknown>;
      at[part] = child;
      at = child;
    }
    at["__errors"] = [...((at["__errors"] as string[] | undefined) ?? []), message];
  }
  return root as ErrorSchema;
}

/** Without empty members that the form has added beside the change. */
export function asTyped(before: unknown, after: unknown, depth = 0): unknown {
  if (typeof after !== "object" || after === null || Array.isArray(after)) return after;
  const former = membersOf(before);
  return Object.fromEntries(
    Object.entries(after).flatMap(([name, member]) => {
      const known = Object.hasOwn(former, name);
      if (member === undefined) return [];
      if (name === "plugins" && depth === 0) return [[name, member]];
      const kept = asTyped(known ? former[name] : undefined, member, depth + 1);
      const isEmpty = typeof kept === "object" && kept !== null && Object.keys(kept).length === 0;
      return isEmpty && !known ? [] : [[name, kept]];
    }),
  );
}
