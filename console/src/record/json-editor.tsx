/**
 * CodeMirror for JSON. It lives in a shadow root: there its styles are constructed sheets, which a Content-Security-Policy
 * without inline styles allows.
 */
import { autocompletion, closeBrackets, closeBracketsKeymap } from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap } from "@codemirror/commands";
import { json, jsonLanguage, jsonParseLinter } from "@codemirror/lang-json";
import { bracketMatching, foldGutter, HighlightStyle, indentOnInput, syntaxHighlighting } from "@codemirror/language";
import { type Diagnostic, linter, lintGutter, lintKeymap } from "@codemirror/lint";
import { highlightSelectionMatches, searchKeymap } from "@codemirror/search";
import { EditorState, StateEffect } from "@codemirror/state";
import { EditorView, keymap, lineNumbers } from "@codemirror/view";
import { tags } from "@lezer/highlight";
import { type ReactNode, useEffect, useRef } from "react";
import { completeFrom } from "./json-completion.ts";
import { placeOfPath } from "./json-places.ts";
import type { Fault, Path } from "./judge.ts";
import type { Schema } from "./record-schema.ts";

const THEME = EditorView.theme({
  "&": { fontSize: "13.5px", maxHeight: "65vh", background: "var(--raised)", color: "var(--text)" },
  ".cm-scroller": { fontFamily: "ui-monospace, monospace", overflow: "auto" },
  ".cm-gutters": { background: "var(--raised)", color: "var(--muted)", border: "none" },
  ".cm-content": { caretColor: "var(--text)" },
  ".cm-cursor": { borderLeftColor: "var(--text)" },
  "&.cm-focused": { outline: "2px solid var(--accent)" },
  ".cm-tooltip": { background: "var(--raised)", color: "var(--text)", border: "1px solid var(--line)" },
  ".cm-tooltip-autocomplete ul li[aria-selected]": { background: "var(--accent)", color: "var(--raised)" },
  ".cm-completionInfo": { maxWidth: "24em" },
});

/** The page's own colours, light and dark. */
const COLOURS = HighlightStyle.define([
  { tag: tags.propertyName, color: "var(--accent)" },
  { tag: tags.string, color: "var(--text)" },
  { tag: [tags.number, tags.bool, tags.null], color: "var(--good)" },
]);

interface JsonEditorProps {
  readonly text: string;
  readonly label: string;
  readonly readOnly: boolean;
  readonly onChange: (text: string) => void;
  /** What completion knows. */
  readonly schema: Schema | undefined;
  readonly faults: readonly Fault[];
  /** Where to go, anew with each object. */
  readonly goTo: { readonly path: Path } | undefined;
}

const parseLinter = jsonParseLinter();
const newMarks = StateEffect.define();

/** What is no JSON first; then what the schema or the admin finds wrong in it. */
function marksIn(view: EditorView, faults: readonly Fault[]): readonly Diagnostic[] {
  const broken = parseLinter(view);
  if (broken.length > 0) return broken;
  return faults.map(({ path, message }) => ({ ...placeOfPath(view.state, path), severity: "error", message }));
}

// biome-ignore lint/style/noDefaultExport: React.lazy wants one
export default function JsonEditor(props: JsonEditorProps): ReactNode {
  const host = useRef<HTMLDivElement>(null);
  const view = useRef<EditorView>(null);
  const changed = useRef(props.onChange);
  changed.current = props.onChange;
  const first = useRef(props);
  const latest = useRef(props);
  latest.current = props;
  /** What the page puts in is no edit of its user. */
  const isPutIn = useRef(false);

  useEffect(() => {
    if (!host.current) return;
    const root = host.current.shadowRoot ?? host.current.attachShadow({ mode: "open" });
    const { text, label, readOnly } = first.current;
    const editor = new EditorView({
      root,
      parent: root,
      state: EditorState.create({
        doc: text,
        extensions: [
          [
            lineNumbers(),
            foldGutter(),
            history(),
            indentOnInput(),
            bracketMatching(),
            closeBrackets(),
            autocompletion(),
          ],
          [json(), syntaxHighlighting(COLOURS), highlightSelectionMatches()],
          jsonLanguage.data.of({ autocomplete: completeFrom(() => latest.current.schema) }),
          linter((view) => marksIn(view, latest.current.faults), {
            delay: 300,
            needsRefresh: ({ transactions }) =>
              transactions.some(({ effects }) => effects.some((one) => one.is(newMarks))),
          }),
          lintGutter(),
          [THEME, EditorView.lineWrapping],
          // Tab leaves the editor: whoever uses the keyboard must get out of it.
          keymap.of([...closeBracketsKeymap, ...defaultKeymap, ...searchKeymap, ...historyKeymap, ...lintKeymap]),
          EditorView.contentAttributes.of({ "aria-label": label }),
          EditorState.readOnly.of(readOnly),
          EditorView.updateListener.of((update) => {
            if (update.docChanged && !isPutIn.current) changed.current(update.state.doc.toString());
          }),
        ],
      }),
    });
    editor.scrollDOM.tabIndex = 0; // what scrolls is reached by the keyboard
    view.current = editor;
    return () => editor.destroy();
  }, []);

  useEffect(() => {
    const editor = view.current;
    if (!editor || editor.state.doc.toString() === props.text) return;
    isPutIn.current = true;
    editor.dispatch({ changes: { from: 0, to: editor.state.doc.length, insert: props.text } });
    isPutIn.current = false;
  }, [props.text]);

  // biome-ignore lint/correctness/useExhaustiveDependencies: marks are read when the editor asks
  useEffect(() => {
    view.current?.dispatch({ effects: newMarks.of(null) });
  }, [props.faults]);

  useEffect(() => {
    const editor = view.current;
    if (!editor || !props.goTo) return;
    const { from, to } = placeOfPath(editor.state, props.goTo.path);
    editor.dispatch({ selection: { anchor: from, head: to }, scrollIntoView: true });
    editor.focus();
  }, [props.goTo]);

  return <div ref={host} className="editor" data-testid="json" />;
}
