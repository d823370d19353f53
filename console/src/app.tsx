/**
 * The shell: who is signed in, the ways to the pages, the command palette.
 */
import { type ReactNode, useEffect, useState } from "react";
import { Link, Redirect, Route, Switch, useLocation } from "wouter";
import { useWhoAmI, Who } from "./api/queries.ts";
import { Explain } from "./pages/explain.tsx";
import { HistoryPage } from "./pages/history.tsx";
import { Overview } from "./pages/overview.tsx";
import { Problems } from "./pages/problems.tsx";
import { RecordsPage } from "./pages/records.tsx";
import { SignIn } from "./pages/sign-in.tsx";
import { Tokens } from "./pages/tokens.tsx";
import { Upstreams } from "./pages/upstreams.tsx";
import { signOut, useKey } from "./session.ts";
import { applyTheme, switchTheme } from "./theme.ts";
import { Palette } from "./ui/palette.tsx";
import { Badge, Failure, Loading, Notice, Page } from "./ui/parts.tsx";

const PAGES = [
  ["/", "Overview"],
  ["/records/routes", "Records"],
  ["/tokens", "Tokens"],
  ["/upstreams", "Upstreams"],
  ["/explain", "Explain"],
  ["/history", "History"],
  ["/problems", "Problems"],
] as const;

export function App(): ReactNode {
  const key = useKey();
  useEffect(applyTheme, []);
  return key === undefined ? <SignIn /> : <Shell key={key} of={key} />;
}

function Shell(props: { readonly of: string }): ReactNode {
  const who = useWhoAmI(props.of);
  const [isOpen, setOpen] = useState(false);
  useEffect(() => {
    const onKey = (event: KeyboardEvent): void => {
      if (event.key.toLowerCase() !== "k" || !(event.ctrlKey || event.metaKey)) return;
      event.preventDefault();
      setOpen((open) => !open);
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, []);
  if (!who.data) {
    return (
      <main className="alone">
        {who.error ? <Failure error={who.error} retry={() => void who.refetch()} /> : <Loading />}
        {who.error && (
          <button type="button" onClick={() => signOut()}>
            Sign out
          </button>
        )}
      </main>
    );
  }
  return (
    <Who value={who.data}>
      <a className="skip" href="#content">
        Skip to the page
      </a>
      <header className="top">
        <Link className="brand" href="/">
          Jotgate
        </Link>
        <Nav />
        <div className="top-aside">
          <button type="button" onClick={() => setOpen(true)} aria-haspopup="dialog">
            Go to… <kbd>Ctrl K</kbd>
          </button>
          <button type="button" onClick={switchTheme} aria-label="Light or dark" title="Light or dark">
            ◐
          </button>
          <span className="who">
            {who.data.name} {who.data.role === "viewer" && <Badge tone="plain">viewer</Badge>}
          </span>
          <button type="button" onClick={() => signOut()}>
            Sign out
          </button>
        </div>
      </header>
      <main id="content" tabIndex={-1}>
        <Switch>
          <Route path="/" component={Overview} />
          <Route path="/records">
            <Redirect to="/records/routes" />
          </Route>
          <Route path="/records/*">{(params) => <RecordsPage path={params["*"] ?? ""} />}</Route>
          <Route path="/tokens" component={Tokens} />
          <Route path="/upstreams" component={Upstreams} />
          <Route path="/explain" component={Explain} />
          <Route path="/history" component={HistoryPage} />
          <Route path="/problems" component={Problems} />
          <Route>
            <Page title="No such page">
              <Notice tone="plain">
                <p>
                  There is nothing at this address. <Link href="/">Go to the overview.</Link>
                </p>
              </Notice>
            </Page>
          </Route>
        </Switch>
      </main>
      {isOpen && <Palette pages={PAGES} close={() => setOpen(false)} />}
    </Who>
  );
}

function Nav(): ReactNode {
  const [location] = useLocation();
  return (
    <nav aria-label="Pages">
      {PAGES.map(([href, name]) => {
        const isHere = href === "/" ? location === "/" : location.startsWith(`/${href.split("/")[1]}`);
        return (
          <Link key={href} href={href} {...(isHere && { "aria-current": "page" as const })}>
            {name}
          </Link>
        );
      })}
    </nav>
  );
}
