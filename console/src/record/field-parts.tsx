/**
 * What fields of forms share: name, text and faults around an input, and what was typed.
 */
import type { FieldProps } from "@rjsf/utils";
import { type ReactNode, useId, useState } from "react";
import type { Schema } from "./record-schema.ts";

export interface FormContext {
  readonly plugins: Readonly<Record<string, Schema>> | undefined;
}

interface LabelledProps {
  readonly of: FieldProps;
  readonly wrong?: string | undefined;
  readonly children: (attributes: {
    readonly id: string;
    readonly "aria-describedby": string;
    readonly "aria-invalid": boolean;
  }) => ReactNode;
}

/** Name, field, what it means, what is wrong with it. */
export function Labelled(props: LabelledProps): ReactNode {
  const { of, wrong, children } = props;
  const id = useId();
  const faults = [...(wrong === undefined ? [] : [wrong]), ...(of.rawErrors ?? [])];
  return (
    <>
      <label htmlFor={id}>
        {of.schema.title ?? of.name}
        {of.required && <span className="required"> (required)</span>}
      </label>
      {children({ id, "aria-describedby": `${id}-text`, "aria-invalid": faults.length > 0 })}
      <div id={`${id}-text`}>
        {of.schema.description !== undefined && <p className="muted">{of.schema.description}</p>}
        {faults.length > 0 && <p className="field-error">{faults.join(" ")}</p>}
      </div>
    </>
  );
}

export const give = (of: FieldProps, value: unknown): void => of.onChange(value, of.fieldPathId.path);

export const same = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b);

/** What was typed, as long as it still means the value; else the value as it prints. */
export function useTyped<Typed>(of: FieldProps, print: (value: unknown) => Typed, read: (typed: Typed) => unknown) {
  const [typed, setTyped] = useState<{ readonly text: Typed; readonly value: unknown }>();
  const text = typed && same(typed.value, of.formData) ? typed.text : print(of.formData);
  const type = (next: Typed): void => {
    const value = read(next);
    setTyped({ text: next, value });
    if (!same(value, of.formData)) give(of, value);
  };
  return [text, type, setTyped] as const;
}

export const printScalar = (value: unknown): string =>
  value === undefined ? "" : typeof value === "string" ? value : JSON.stringify(value);

/** A number where it is written as numbers are; all else is text, for the schema to judge. */
export function readScalar(text: string): unknown {
  if (text === "") return undefined;
  return text.trim() !== "" && String(Number(text)) === text && Number.isFinite(Number(text)) ? Number(text) : text;
}
