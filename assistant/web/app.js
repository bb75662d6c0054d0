// The chat page: the conversation between a header and the composer, and where the view is scrolled to.

import { html, render, useCallback, useEffect, useLayoutEffect, useRef, useState } from "./vendor/htm-preact.js";
import { isBusy, useConversation } from "./conversation.js";
import { Composer, Turn, Welcome } from "./parts.js";

const PINNED_WITHIN = 48;
const MARGIN_ABOVE = 16;

/**
 * Where the view is scrolled to. It follows a growing reply only while it is at its end; when the reply is
 * complete it shows as much of what comes after as leaves the question in view. `jump` goes to the end.
 */
function usePinned(turns) {
  const view = useRef(null);
  const [pinned, setPinned] = useState(true);
  const follows = useRef(true);
  const busy = useRef(false);
  busy.current = isBusy(turns.at(-1));

  const onScroll = useCallback(() => {
    const { scrollHeight, scrollTop, clientHeight } = view.current;
    follows.current = scrollHeight - scrollTop - clientHeight < PINNED_WITHIN;
    setPinned(follows.current);
  }, []);
  const follow = useCallback(() => {
    if (!follows.current) return;
    const box = view.current;
    const end = box.scrollHeight - box.clientHeight;
    const top = (box.querySelector(".turn:last-child")?.offsetTop ?? 0) - MARGIN_ABOVE;
    box.scrollTop = busy.current ? end : Math.max(box.scrollTop, Math.min(end, top));
    onScroll();
  }, []);
  useLayoutEffect(follow, [turns]);
  useEffect(() => {
    // Item records arrive after the reply and make it taller.
    const observer = new ResizeObserver(follow);
    observer.observe(view.current.firstElementChild);
    return () => observer.disconnect();
  }, []);
  const jump = useCallback(() => {
    view.current.scrollTop = view.current.scrollHeight;
    onScroll();
  }, []);
  return { view, pinned, onScroll, jump };
}

function App() {
  const { turns, send, retry, stop, clear } = useConversation();
  const { view, pinned, onScroll, jump } = usePinned(turns);
  const busy = isBusy(turns.at(-1));
  const ask = (text) => {
    jump();
    send(text);
  };
  useEffect(() => {
    const onKeyDown = (event) => event.key === "Escape" && stop();
    addEventListener("keydown", onKeyDown);
    return () => removeEventListener("keydown", onKeyDown);
  }, []);
  return html`
    <header class="bar">
      <span class="brand"><img src="/static/icon.svg" alt="" width="26" height="26" />Sotto</span>
      <button type="button" class="plain" disabled=${turns.length === 0} onClick=${clear}>New conversation</button>
    </header>
    <main class="view" ref=${view} onScroll=${onScroll}>
      <div class="column">
        ${turns.length === 0 && html`<${Welcome} onPick=${ask} />`}
        <div class="log" role="log" aria-label="Conversation" aria-busy=${busy ? "true" : "false"}>
          ${turns.map(
            (turn, index) =>
              html`<${Turn} key=${index} turn=${turn} isLast=${index === turns.length - 1} onRetry=${retry} onClear=${clear} />`,
          )}
        </div>
      </div>
    </main>
    <footer class="foot">
      ${!pinned && turns.length > 0 && html`<button type="button" class="latest" onClick=${jump}>Latest ↓</button>`}
      <${Composer} busy=${busy} onSend=${ask} onStop=${stop} />
      <p class="note">This conversation lives in this tab only; the server keeps nothing of it.</p>
    </footer>
  `;
}

render(html`<${App} />`, document.getElementById("app"));
