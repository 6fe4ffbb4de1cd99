// What applications of Anthropic's SDK do.

import Anthropic from "@anthropic-ai/sdk";
import { KEY, MODEL, SAY, WEATHER, baseURL, run } from "./examples.mjs";

const client = new Anthropic({ baseURL: baseURL.replace(/\/v1$/, ""), apiKey: KEY, maxRetries: 0 });
const say = { model: MODEL, max_tokens: 60, temperature: 0, messages: [{ role: "user", content: SAY }] };
const tool = {
  name: "get_weather",
  description: "Get the weather of a city",
  input_schema: { type: "object", properties: { city: { type: "string", maxLength: 40 } }, required: ["city"], additionalProperties: false },
};
const weather = { ...say, max_tokens: 300, messages: [{ role: "user", content: WEATHER }], tools: [tool] };
const refusal = (error) => [error.constructor.name, error.status, error.error?.error?.type ?? null];

await run({
  created: async () => {
    const message = await client.messages.create(say);
    return [message.content[0].text, message.stop_reason, message.usage.input_tokens + message.usage.cache_read_input_tokens];
  },
  streamed: async () => {
    const pieces = [];
    const stream = client.messages.stream(say).on("text", (text) => pieces.push(text));
    const final = await stream.finalMessage();
    return [final.content[0].text, final.stop_reason, pieces.join("")];
  },
  counted: async () => (await client.messages.countTokens({ model: MODEL, messages: say.messages })).input_tokens,
  called: async () => {
    const message = await client.messages.stream({ ...weather, tool_choice: { type: "any" } }).finalMessage();
    const results = message.content
      .filter((block) => block.type === "tool_use")
      .map((block) => ({ type: "tool_result", tool_use_id: block.id, content: "sunny" }));
    const messages = [...weather.messages, { role: "assistant", content: message.content }, { role: "user", content: results }];
    const answer = await client.messages.create({ ...weather, messages });
    return { reason: message.stop_reason, inputs: message.content.map((block) => Object.keys(block.input ?? {})), answer: answer.type };
  },
  refused: () => client.messages.create({ ...say, model: "nothing" }).catch(refusal),
  listed: async () => {
    const ids = [];
    for await (const model of client.models.list({ limit: 2 })) ids.push(model.id);
    return ids;
  },
});
