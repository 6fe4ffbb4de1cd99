// What applications of the npm package openai do: tools, typed answers, streams and the helpers around them.

import OpenAI from "openai";
import { zodFunction, zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";
import { ANNA, KEY, MODEL, SAY, WEATHER, baseURL, run } from "./examples.mjs";

const client = new OpenAI({ baseURL, apiKey: KEY, maxRetries: 0 });
const ask = (content, more) => ({
  model: MODEL,
  temperature: 0,
  max_tokens: 400,
  messages: [{ role: "user", content }],
  ...more,
});

const Person = z.object({ name: z.string().max(30), age: z.number().int().min(0).max(150) });
const Contact = z.object({
  name: z.string().max(20),
  level: z.union([z.literal(1), z.literal(2)]),
  addresses: z.array(z.object({ street: z.string().max(20), kind: z.enum(["home", "work"]) })).min(1).max(2),
  nickname: z.string().max(10).nullable(),
  friend: z.boolean(),
});
const weather = {
  type: "function",
  function: {
    name: "get_weather",
    description: "Get the weather of a city",
    parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  },
};
const parsed = async (schema) => {
  const reply = await client.chat.completions.parse(ask(ANNA, { response_format: zodResponseFormat(schema, "answer") }));
  return reply.choices[0].message.parsed;
};

await run({
  person: () => parsed(Person),
  contact: () => parsed(Contact),
  tool: async () => (await client.chat.completions.create(ask(WEATHER, { tools: [weather] }))).choices[0],
  parsed_tool: async () => {
    const tool = zodFunction({ name: "get_weather", description: "Get the weather of a city", parameters: z.object({ city: z.string() }) });
    const reply = await client.chat.completions.parse(ask(WEATHER, { tools: [tool] }));
    return reply.choices[0].message.tool_calls.map((call) => call.function.parsed_arguments);
  },
  run_tools: async () => {
    const cities = [];
    const tool = zodFunction({
      name: "get_weather",
      description: "Get the weather of a city",
      parameters: z.object({ city: z.string() }),
      function: ({ city }) => {
        cities.push(city);
        return "sunny, 21 degrees";
      },
    });
    const answer = await client.chat.completions.runTools(ask(WEATHER, { tools: [tool] })).finalContent();
    return { cities, answer };
  },
  run_tools_streamed: async () => {
    const cities = [];
    const tool = zodFunction({
      name: "get_weather",
      description: "Get the weather of a city",
      parameters: z.object({ city: z.string() }),
      function: ({ city }) => {
        cities.push(city);
        return "sunny, 21 degrees";
      },
    });
    const pieces = [];
    const runner = client.chat.completions.runTools(ask(WEATHER, { tools: [tool], stream: true }));
    runner.on("content", (piece) => pieces.push(piece));
    return { cities, answer: await runner.finalContent(), pieces };
  },
  stream: async () => {
    const stream = client.chat.completions.stream(
      ask("What is the weather in Paris and Rome?", { tools: [weather], stream_options: { include_usage: true } }),
    );
    const seen = [];
    stream.on("tool_calls.function.arguments.done", (call) => seen.push([call.index, call.name, call.arguments]));
    const reply = await stream.finalChatCompletion();
    return { seen, choice: reply.choices[0], usage: reply.usage };
  },
  stream_parsed: async () => {
    const stream = client.chat.completions.stream(ask(ANNA, { response_format: zodResponseFormat(Person, "person") }));
    return (await stream.finalChatCompletion()).choices[0].message.parsed;
  },
  named: async () => {
    const choice = { type: "function", function: { name: "get_weather" } };
    const bounded = structuredClone(weather);
    bounded.function.parameters.properties.city.maxLength = 40;
    return (await client.chat.completions.create(ask(SAY, { tools: [bounded], tool_choice: choice }))).choices[0];
  },
  cut_off: () => client.chat.completions.parse(ask(ANNA, { response_format: zodResponseFormat(Contact, "c"), max_tokens: 9 })).catch((error) => error.constructor.name),
  refused: () =>
    client.chat.completions
      .create(ask(SAY, { tools: [weather], tool_choice: { type: "function", function: { name: "none_such" } } }))
      .catch((error) => [error.constructor.name, error.status, error.type, error.param]),
});
