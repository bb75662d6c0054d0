// Talks to a server by the official npm client, and prints what it saw as one JSON object.
import OpenAI from "openai";

const client = new OpenAI({ baseURL: process.env.SOTTO_URL, apiKey: "none", maxRetries: 0 });
const messages = [{ role: "user", content: "Something like Alien" }];
const ask = { model: "sotto", messages };
const create = (fields = {}, options = {}) => client.chat.completions.create({ ...ask, ...fields }, options);
const tools = [{ type: "function", function: { name: "recommend_items", parameters: { type: "object" } } }];
const seen = {};

const whole = await create({ seed: 7, temperature: 0.2, stop: ["END"], max_completion_tokens: 50, user: "x", store: false });
seen.whole = {
  content: whole.choices[0].message.content,
  finish: whole.choices[0].finish_reason,
  titles: whole.recommendations.map((item) => item.title),
  calls: whole.choices[0].message.tool_calls ?? null,
  tokens: whole.usage.total_tokens,
  requestId: whole._request_id,
};

seen.stream = { content: "", recommended: 0, tokens: null };
for await (const chunk of await create({ stream: true, stream_options: { include_usage: true } })) {
  seen.stream.content += chunk.choices[0]?.delta.content ?? "";
  seen.stream.recommended += "recommendations" in chunk ? 1 : 0;
  seen.stream.tokens = chunk.usage?.total_tokens ?? null;
}

const called = await create({ tools });
const call = called.choices[0].message.tool_calls[0];
seen.call = { finish: called.choices[0].finish_reason, name: call.function.name, arguments: JSON.parse(call.function.arguments) };

// `stream` puts the pieces together; `runTools` answers calls until the model has no more.
const final = await client.chat.completions.stream({ ...ask, tools }).finalChatCompletion();
seen.streamedCall = JSON.parse(final.choices[0].message.tool_calls[0].function.arguments);
const taken = [];
const runner = client.chat.completions.runTools({
  ...ask,
  tools: [
    {
      type: "function",
      function: { name: "recommend_items", parameters: { type: "object" }, parse: JSON.parse, function: (given) => { taken.push(given); return "shown"; } },
    },
  ],
});
seen.loop = { content: await runner.finalContent(), taken: taken.length };

const failure = async (work) => {
  try {
    await work();
    return null;
  } catch (error) {
    return { kind: error.constructor.name, status: error.status ?? null, code: error.code ?? null, param: error.param ?? null };
  }
};
seen.refused = await failure(() => create({ n: 2 }));
seen.unknown = await failure(() => create({ model: "gpt-4o" }));
seen.unavailable = await failure(() => create({ seed: 503 }));
seen.inStream = await failure(async () => {
  for await (const chunk of await create({ seed: 504, stream: true })) void chunk;
});

const aborted = await create({ seed: 1, stream: true });
for await (const chunk of aborted) {
  if (chunk.choices[0].delta.content) break; // breaking off aborts the request
}
seen.models = (await client.models.list()).data.map((model) => model.id);

console.log(JSON.stringify(seen));
