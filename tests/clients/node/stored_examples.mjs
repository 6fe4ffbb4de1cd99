// What applications of openai do with stored chat completions.

import OpenAI from "openai";
import { KEY, baseURL, run } from "./examples.mjs";

const client = new OpenAI({ baseURL, apiKey: KEY, maxRetries: 0 });
const topic = `node-${Date.now()}`;
const ask = (content, more) => client.chat.completions.create({
  model: "llmatic-tiny", messages: [{ role: "user", content }], max_tokens: 4, store: true, metadata: { topic }, ...more,
});

await run({
  stored: async () => {
    const made = [await ask("щенки 🦔"), await ask("two")];
    let streamed;
    for await (const chunk of await ask("three", { stream: true })) streamed = chunk.id;
    const listed = [];
    for await (const each of client.chat.completions.list({ metadata: { topic }, limit: 1 })) listed.push(each.id);
    const newest = await client.chat.completions.list({ metadata: { topic }, order: "desc", limit: 1 });
    const first = await client.chat.completions.retrieve(made[0].id);
    const messages = [];
    for await (const each of client.chat.completions.messages.list(made[0].id)) messages.push(each);
    const changed = await client.chat.completions.update(made[0].id, { metadata: { topic: "other" } });
    const gone = await client.chat.completions.delete(made[0].id);
    const missing = await client.chat.completions.retrieve(made[0].id).catch((error) => [error.constructor.name, error.message]);
    return {
      ids: [...made.map((each) => each.id), streamed], listed, newest: newest.data[0].id,
      same: JSON.stringify(first.choices) === JSON.stringify(made[0].choices),
      messages, metadata: changed.metadata, gone, missing,
    };
  },
});
