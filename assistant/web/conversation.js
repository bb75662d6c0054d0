// The conversation: kept in this tab's memory and nowhere else. Knows nothing of how it is shown.

import { useCallback, useRef, useState } from "./vendor/htm-preact.js";
import { readItem, streamReply } from "./api.js";

/**
 * A turn: `question`; `reply` so far; `recommendations`, with the `recommendationId` of all of them; `wish` after it;
 * `state`: "waiting" (nothing came yet), "streaming", "done", "stopped" or "failed"; `error` when failed.
 */
const newTurn = (question) => ({
  question,
  reply: "",
  recommendations: [],
  recommendationId: null,
  wish: null,
  state: "waiting",
  error: null,
});

export const isBusy = (turn) => turn?.state === "waiting" || turn?.state === "streaming";

/** What the server is told: everything said before `turns[last]`, and its question. */
function spoken(turns) {
  const messages = [];
  turns.forEach((turn, index) => {
    messages.push({ role: "user", content: turn.question });
    if (turn.reply && index < turns.length - 1) messages.push({ role: "assistant", content: turn.reply });
  });
  return messages;
}

/** The conversation's turns, and what a person can do with it. */
export function useConversation() {
  const [turns, setTurns] = useState([]);
  const latest = useRef([]);
  const running = useRef(null);

  const show = useCallback((next) => {
    latest.current = next;
    setTurns(next);
  }, []);

  const run = useCallback(async (earlier, question) => {
    const controller = new AbortController();
    running.current = controller;
    let turn = newTurn(question);
    const update = (change) => {
      if (running.current !== controller) return;
      turn = { ...turn, ...change };
      show([...earlier, turn]);
    };
    update({});
    const wish = earlier.findLast((before) => before.wish)?.wish ?? undefined;
    try {
      for await (const chunk of streamReply({ messages: spoken([...earlier, turn]), wish, signal: controller.signal })) {
        if (chunk.recommendations) {
          chunk.recommendations.forEach(({ id }) => readItem(id).catch(() => {}));
          update({
            recommendations: chunk.recommendations,
            recommendationId: chunk.recommendation_id,
            wish: chunk.wish,
          });
        }
        const text = chunk.choices[0]?.delta?.content;
        if (text) update({ reply: turn.reply + text, state: "streaming" });
      }
      update({ state: "done" });
    } catch (error) {
      if (controller.signal.aborted) update({ state: "stopped" });
      else update({ state: "failed", error });
    } finally {
      if (running.current === controller) running.current = null;
    }
  }, []);

  return {
    turns,
    send: useCallback((question) => run(latest.current, question), []),
    retry: useCallback(() => run(latest.current.slice(0, -1), latest.current.at(-1).question), []),
    stop: useCallback(() => running.current?.abort(), []),
    clear: useCallback(() => {
      const controller = running.current;
      running.current = null;
      controller?.abort();
      show([]);
    }, []),
  };
}
