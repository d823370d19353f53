/**
 * The command palette: every page, every kind of record, any record by its path, by keyboard alone.
 */
import { type KeyboardEvent, type ReactNode, useEffect, useMemo, useRef, useState } from "react";
import { useLocation } from "wouter";
import { KINDS, placeOf, recordLink } from "../api/kinds.ts";
import { useMayWrite } from "../api/queries.ts";
import { signOut } from "../session.ts";
import { switchTheme } from "../theme.ts";

interface Command {
  readonly name: string;
  run(): void;
}

export function Palette(props: {
  readonly pages: readonly (readonly [string, string])[];
  readonly close: () => void;
}): ReactNode {
  const { pages, close } = props;
  const [, go] = useLocation();
  const [text, setText] = useState("");
  const [at, setAt] = useState(0);
  const mayWrite = useMayWrite();
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => dialog.current?.showModal(), []);

  const commands = useMemo((): readonly Command[] => {
    const to = (name: string, path: string): Command => ({ name, run: () => go(path) });
    const fixed = [
      ...pages.map(([path, name]) => to(name, path)),
      ...KINDS.map(({ dir, title }) => to(`Records: ${title}`, `/records/${dir}`)),
      ...(mayWrite ? KINDS.filter((kind) => !kind.readOnly) : []).map(({ dir, one }) =>
        to(`New ${one}`, `/records/${dir}?new`),
      ),
      { name: "Switch between light and dark", run: switchTheme },
      { name: "Sign out", run: () => signOut() },
    ];
    const wanted = text.trim().toLowerCase();
    if (wanted === "") return fixed;
    const place = placeOf(text.trim());
    return [
      ...(place?.id === undefined ? [] : [to(`Open ${place.path}`, recordLink(place.path))]),
      ...fixed.filter(({ name }) => name.toLowerCase().includes(wanted)),
      to(`Search routes for “${text.trim()}”`, `/records/routes?search=${encodeURIComponent(text.trim())}`),
      to(`Search consumers for “${text.trim()}”`, `/records/consumers?search=${encodeURIComponent(text.trim())}`),
    ];
  }, [text, pages, go, mayWrite]);

  const run = (command: Command | undefined): void => {
    close();
    command?.run();
  };
  const onKey = (event: KeyboardEvent): void => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step !== undefined) {
      event.preventDefault();
      setAt((now) => (now + step + commands.length) % commands.length);
    } else if (event.key === "Enter") {
      event.preventDefault();
      run(commands[at]);
    }
  };

  return (
    <dialog ref={dialog} className="palette" aria-label="Go to" onClose={close}>
      <input
        autoFocus
        role="combobox"
        aria-expanded="true"
        aria-controls="commands"
        aria-activedescendant={`command-${at}`}
        aria-label="Page, kind, or a record such as routes/1"
        placeholder="Page, kind, or a record such as routes/1"
        value={text}
        onKeyDown={onKey}
        onChange={(event) => {
          setText(event.target.value);
          setAt(0);
        }}
      />
      <div id="commands" role="listbox" aria-label="Commands" tabIndex={-1}>
        {commands.map((command, index) => (
          // biome-ignore lint/a11y/useKeyWithClickEvents: the combobox above has the keys
          <div
            key={command.name}
            id={`command-${index}`}
            role="option"
            tabIndex={-1}
            aria-selected={index === at}
            onClick={() => run(command)}
          >
            {command.name}
          </div>
        ))}
      </div>
    </dialog>
  );
}
