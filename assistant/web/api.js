// The page's side of the HTTP API: a reply as it streams, verdicts, and the records of items.

const RETRYABLE_FROM = 500;

const UNAUTHORIZED = 401;
const KEY = "sotto-api-key";

/** Keeps the key that is sent with every request, until this tab is closed. */
export function keepKey(key) {
  sessionStorage.setItem(KEY, key);
}

/**
 * What went wrong, in words for the person; `retryable` when the same request may succeed later,
 * `needsKey` is "one" when it may with an API key, "another" when the key that was sent is not good.
 */
export class ApiError extends Error {
  constructor(message, { retryable, needsKey = false, requestId = null }) {
    super(message);
    this.retryable = retryable;
    this.needsKey = needsKey;
    this.requestId = requestId;
  }
}

/**
 * Sends the conversation and yields the reply's chunks (OpenAI's `chat.completion.chunk`).
 * Aborting `signal` stops the model. Throws ApiError, or AbortError when aborted.
 */
export async function* streamReply({ messages, wish, signal }) {
  const body = JSON.stringify({ model: "sotto", messages, wish, stream: true });
  const response = await reach("/v1/chat/completions", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body,
    signal,
  });
  if (!response.ok) throw await refusal(response);
  let finished = false;
  for await (const data of serverSentData(response.body, signal)) {
    if (data === "[DONE]") break;
    const chunk = JSON.parse(data);
    if (chunk.error) throw new ApiError(chunk.error.message, { retryable: true, requestId: chunk.request_id });
    finished ||= Boolean(chunk.choices[0]?.finish_reason);
    yield chunk;
  }
  if (!finished) throw new ApiError("The connection broke off before the reply was complete.", { retryable: true });
}

/** Tells the server that a recommendation was "accepted" or "rejected", or that its verdict is "withdrawn". Throws ApiError. */
export async function giveVerdict(recommendationId, verdict) {
  const response = await reach("/v1/feedback", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ recommendation_id: recommendationId, verdict }),
  });
  if (!response.ok) throw await refusal(response);
}

const items = new Map();

/** The record of an item, asked for once. Throws ApiError. */
export function readItem(id) {
  if (!items.has(id)) {
    const found = reach(`/v1/items/${encodeURIComponent(id)}`).then(async (response) => {
      if (!response.ok) throw await refusal(response);
      return response.json();
    });
    found.catch(() => items.delete(id));
    items.set(id, found);
  }
  return items.get(id);
}

async function reach(url, options = {}) {
  const key = sessionStorage.getItem(KEY);
  const headers = { ...options.headers, ...(key && { authorization: `Bearer ${key}` }) };
  try {
    return await fetch(url, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("Sotto does not answer. Is it still running? Start it with “make run”, then retry.", {
      retryable: true,
    });
  }
}

async function refusal(response) {
  const requestId = response.headers.get("x-request-id");
  let message = `The server answered with status ${response.status}.`;
  try {
    message = (await response.json()).error.message;
  } catch {
    // A proxy in between may answer with something else than JSON: the status has to do.
  }
  return new ApiError(message, {
    retryable: response.status >= RETRYABLE_FROM || response.status === 429,
    needsKey: response.status === UNAUTHORIZED && (sessionStorage.getItem(KEY) ? "another" : "one"),
    requestId,
  });
}

async function* serverSentData(stream, signal) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      buffer += value;
      const blocks = buffer.split("\n\n");
      buffer = blocks.pop();
      for (const block of blocks) if (block.startsWith("data: ")) yield block.slice("data: ".length);
    }
  } catch (error) {
    if (signal.aborted) throw error;
    throw new ApiError("The connection broke off before the reply was complete.", { retryable: true });
  } finally {
    reader.cancel().catch(() => {});
  }
}
