/**
 * A record as form and as JSON, side by side: one text, which both show and both change.
 */
import { type ReactNode, useMemo, useState } from "react";
import type { Place } from "../api/kinds.ts";
import { Notice } from "../ui/parts.tsx";
import JsonEditor from "./json-editor.tsx";
import { type Fault, judge, type Path, placeOfRefusal } from "./judge.ts";
import { RecordForm } from "./record-form.tsx";
import { useRecordSchema } from "./record-schema.ts";

interface WorkbenchProps {
  readonly place: Place;
  readonly text: string;
  readonly readOnly: boolean;
  readonly onChange: (text: string) => void;
  /** What the admin said of the record as it is now. */
  readonly refusal: string | undefined;
}

type Parsed = { readonly value: unknown } | { readonly wrong: string };

function parse(text: string): Parsed {
  try {
    return { value: JSON.parse(text) };
  } catch (error) {
    return { wrong: error instanceof Error ? error.message : String(error) };
  }
}

const isMembers = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

// biome-ignore lint/style/noDefaultExport: React.lazy wants one
export default function Workbench(props: WorkbenchProps): ReactNode {
  const { place, text, readOnly, onChange, refusal } = props;
  const schema = useRecordSchema(place);
  const parsed = useMemo(() => parse(text), [text]);
  const [goTo, setGoTo] = useState<{ readonly path: Path }>();
  const value = "value" in parsed ? parsed.value : undefined;
  const faults = useMemo<readonly Fault[]>(() => {
    const said = refusal === undefined ? [] : [{ path: placeOfRefusal(refusal), message: refusal }];
    const found = schema && value !== undefined && !readOnly ? judge(schema, value) : [];
    return [...said, ...found];
  }, [schema, value, readOnly, refusal]);
  return (
    <>
      <div className="workbench">
        <section aria-label="Form" className="form">
          {!schema ? (
            <p className="muted">This kind has no form: edit it as JSON.</p>
          ) : isMembers(value) ? (
            <RecordForm
              of={schema}
              value={value}
              faults={faults}
              readOnly={readOnly}
              onChange={(next) => onChange(JSON.stringify(next, null, 2))}
            />
          ) : (
            <Notice tone="plain" title="The form waits for the JSON">
              <p>{"wrong" in parsed ? "It is shown again when the text is JSON." : "A record is an object."}</p>
            </Notice>
          )}
        </section>
        <section aria-label="JSON">
          <JsonEditor
            text={text}
            onChange={onChange}
            readOnly={readOnly}
            label={`${place.kind.one} as JSON`}
            schema={schema?.schema}
            faults={faults}
            goTo={goTo}
          />
        </section>
      </div>
      {faults.length > 0 && (
        <section className="faults" aria-label="What is wrong">
          <h2>What is wrong</h2>
          <ul>
            {faults.map((fault) => (
              <li key={`${fault.path.join("/")} ${fault.message}`}>
                <button type="button" onClick={() => setGoTo({ path: fault.path })}>
                  {fault.path.length === 0 ? "the record" : fault.path.join(" / ")}
                </button>{" "}
                {fault.message}
              </li>
            ))}
          </ul>
        </section>
      )}
    </>
  );
}
