// What the page is made of. Text of the model and the catalogue only ever becomes text nodes.

import { html, useEffect, useLayoutEffect, useRef, useState } from "./vendor/htm-preact.js";
import { giveVerdict, keepKey, readItem } from "./api.js";
import { isBusy } from "./conversation.js";

const SUGGESTIONS = [
  "Something like Alien, but from before 1975",
  "A warm comedy for a rainy Sunday",
  "A French thriller I may not know",
  "Not another superhero film: surprise me",
];
const MAX_CHARACTERS = 32000;
const CAST_SHOWN = 3;
const VERDICTS = { accepted: "Good picks", rejected: "Not for me" };

export function Welcome({ onPick }) {
  return html`
    <section class="welcome">
      <h1>What are you in the mood for?</h1>
      <p>Name a film you loved, a mood, a decade, or what you have had enough of.</p>
      <ul class="suggestions">
        ${SUGGESTIONS.map((text) => html`<li key=${text}><button type="button" onClick=${() => onPick(text)}>${text}</button></li>`)}
      </ul>
    </section>
  `;
}

export function Turn({ turn, isLast, onRetry, onClear }) {
  const showsItems = turn.recommendations.length > 0 && !isBusy(turn) && turn.state !== "failed";
  return html`
    <article class="turn">
      <div class="question"><span class="hidden">You said: </span>${turn.question}</div>
      <div class="answer">
        <span class="hidden">Sotto said: </span>
        ${turn.state === "waiting" && html`<${Waiting} />`}
        ${turn.reply && html`<p class=${turn.state === "streaming" ? "reply writing" : "reply"}>${turn.reply}</p>`}
        ${showsItems && html`<${Items} recommendations=${turn.recommendations} />`}
        ${showsItems && html`<${Verdict} key=${turn.recommendationId} id=${turn.recommendationId} />`}
        ${turn.state === "stopped" && html`<p class="note">You stopped this reply.</p>`}
        ${turn.state === "failed" && html`<${Problem} error=${turn.error} canRetry=${isLast} onRetry=${onRetry} onClear=${onClear} />`}
      </div>
    </article>
  `;
}

function Waiting() {
  return html`<p class="waiting"><span></span><span></span><span></span><em>Looking for what fits</em></p>`;
}

function Items({ recommendations }) {
  return html`
    <ol class="items" aria-label="Recommendations">
      ${recommendations.map((pick) => html`<${Card} key=${pick.id} pick=${pick} />`)}
    </ol>
  `;
}

/** What the person thinks of a recommendation, changed or taken back at will. */
function Verdict({ id }) {
  const [given, setGiven] = useState("withdrawn");
  const [problem, setProblem] = useState(null);
  const sending = useRef(false);
  const judge = async (verdict) => {
    // One at a time, so that the last one pressed is the last to arrive.
    if (sending.current) return;
    sending.current = true;
    setProblem(null);
    try {
      await giveVerdict(id, verdict);
      setGiven(verdict);
    } catch (error) {
      setProblem(error.message);
    }
    sending.current = false;
  };
  const note = given === "withdrawn" ? "" : "Counted without your words; press again to take it back.";
  return html`
    <div class="verdict" role="group" aria-label="Your verdict on these">
      ${Object.entries(VERDICTS).map(([verdict, label]) => {
        const pressed = verdict === given;
        return html`<button
          key=${verdict}
          type="button"
          class="plain"
          aria-pressed=${pressed ? "true" : "false"}
          onClick=${() => judge(pressed ? "withdrawn" : verdict)}
        >
          ${label}
        </button>`;
      })}
      <span class="note" role="status">${problem ?? note}</span>
    </div>
  `;
}

function Card({ pick }) {
  const [item, setItem] = useState(null);
  const [missing, setMissing] = useState(false);
  useEffect(() => {
    let shown = true;
    readItem(pick.id).then(
      (found) => shown && setItem(found),
      () => shown && setMissing(true),
    );
    return () => {
      shown = false;
    };
  }, [pick.id]);
  return html`
    <li class="item">
      <h2><span class="title">${pick.title}</span>${pick.year !== null && html` <span class="year">${pick.year}</span>`}</h2>
      ${item && html`<${Credits} item=${item} />`}
      <p class="reason">${pick.reason}</p>
      ${item?.description && html`<p class="description">${item.description}</p>`}
      ${item && html`<ul class="genres">${item.genres.map((genre) => html`<li key=${genre}>${genre}</li>`)}</ul>`}
      ${missing && html`<p class="note">Its record could not be loaded.</p>`}
    </li>
  `;
}

function Credits({ item }) {
  const directors = (item.people.director ?? item.people.author ?? []).join(", ");
  const cast = (item.people.cast ?? []).slice(0, CAST_SHOWN).join(", ");
  const line = [directors, cast && `with ${cast}`].filter(Boolean).join(", ");
  return line && html`<p class="credits">${line}</p>`;
}

function Problem({ error, canRetry, onRetry, onClear }) {
  if (error.needsKey) return html`<${KeyForm} error=${error} canRetry=${canRetry} onRetry=${onRetry} />`;
  return html`
    <div class="problem" role="alert">
      <p>${error.message}</p>
      ${!error.retryable && html`<p>Sending it again will not help; a new conversation may.</p>`}
      ${error.requestId && html`<p class="note">Request ${error.requestId}</p>`}
      ${canRetry && error.retryable && html`<button type="button" class="plain" onClick=${onRetry}>Retry</button>`}
      ${!error.retryable && html`<button type="button" class="plain" onClick=${onClear}>New conversation</button>`}
    </div>
  `;
}

function KeyForm({ error, canRetry, onRetry }) {
  const box = useRef(null);
  useLayoutEffect(() => box.current?.focus(), []);
  const keep = (event) => {
    event.preventDefault();
    const key = box.current.value.trim();
    if (!key) return;
    keepKey(key);
    onRetry();
  };
  return html`
    <div class="problem" role="alert">
      <p>${error.needsKey === "another" ? "The server does not take this API key." : "This server asks for an API key."}</p>
      <p>Whoever runs it makes one with “sotto keys create”.</p>
      ${canRetry &&
      html`<form class="key" onSubmit=${keep}>
        <label class="hidden" for="key">API key</label>
        <input id="key" ref=${box} type="password" autocomplete="off" spellcheck="false" placeholder="sk-sotto-…" />
        <button type="submit" class="plain">Use this key</button>
      </form>`}
      <p class="note">It stays in this tab, until you close it.</p>
    </div>
  `;
}

export function Composer({ busy, onSend, onStop }) {
  const [text, setText] = useState("");
  const box = useRef(null);
  useLayoutEffect(() => {
    box.current.style.height = "auto";
    box.current.style.height = `${box.current.scrollHeight}px`;
  }, [text]);
  useLayoutEffect(() => {
    // Never taken from what the person is at, such as the key that is asked for.
    if (!busy && document.activeElement === document.body) box.current.focus();
  }, [busy]);

  const send = (event) => {
    event.preventDefault();
    if (busy || !text.trim()) return;
    onSend(text.trim());
    setText("");
  };
  const onKeyDown = (event) => {
    // Enter also ends a composition in an input method, which must not send half a word.
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) send(event);
  };
  return html`
    <form class="composer" onSubmit=${send}>
      <label class="hidden" for="message">Your message</label>
      <textarea
        id="message"
        ref=${box}
        rows="1"
        maxlength=${MAX_CHARACTERS}
        placeholder="Message Sotto"
        enterkeyhint="send"
        value=${text}
        onInput=${(event) => setText(event.currentTarget.value)}
        onKeyDown=${onKeyDown}
      ></textarea>
      ${busy
        ? html`<button type="button" class="stop" onClick=${onStop}>Stop</button>`
        : html`<button type="submit" disabled=${!text.trim()}>Send</button>`}
    </form>
  `;
}
