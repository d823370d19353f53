/**
 * CodeMirror for JSON. It lives in a shadow root: there its styles are constructed sheets, which a Content-Security-Policy
 * without inline styles allows.
 */
import { autocompletion, closeBrackets, closeBracketsKeymap } from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap } from "@codemirror/commands";
import { json, jsonParseLinter } from "@codemirror/lang-json";
import { bracketMatching, foldGutter, HighlightStyle, indentOnInput, syntaxHighlighting } from "@codemirror/language";
import { linter, lintGutter, lintKeymap } from "@codemirror/lint";
import { highlightSelectionMatches, searchKeymap } from "@codemirror/search";
import { EditorState } from "@codemirror/state";
import { EditorView, keymap, lineNumbers } from "@codemirror/view";
import { tags } from "@lezer/highlight";
import { type ReactNode, useEffect, useRef } from "react";

const THEME = EditorView.theme({
  "&": { fontSize: "13.5px", maxHeight: "65vh", background: "var(--raised)", color: "var(--text)" },
  ".cm-scroller": { fontFamily: "ui-monospace, monospace", overflow: "auto" },
  ".cm-gutters": { background: "var(--raised)", color: "var(--muted)", border: "none" },
  ".cm-content": { caretColor: "var(--text)" },
  ".cm-cursor": { borderLeftColor: "var(--text)" },
  "&.cm-focused": { outline: "2px solid var(--accent)" },
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
}

// biome-ignore lint/style/noDefaultExport: React.lazy wants one
export default function JsonEditor(props: JsonEditorProps): ReactNode {
  const host = useRef<HTMLDivElement>(null);
  const view = useRef<EditorView>(null);
  const changed = useRef(props.onChange);
  changed.current = props.onChange;
  const first = useRef(props);
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
          [linter(jsonParseLinter()), lintGutter(), THEME, EditorView.lineWrapping],
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

  return <div ref={host} className="editor" data-testid="json" />;
}
