// What applications of Vercel's AI SDK do through its OpenAI-compatible provider.

import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { APICallError, NoObjectGeneratedError, Output, generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";
import { ANNA, KEY, MODEL, SAY, WEATHER, baseURL, run } from "./examples.mjs";

globalThis.AI_SDK_LOG_WARNINGS = false;
const provider = createOpenAICompatible({
  name: "llmatic",
  baseURL,
  apiKey: KEY,
  includeUsage: true,
  supportsStructuredOutputs: true,
});
const ask = (prompt, more) => ({
  model: provider(MODEL),
  prompt,
  temperature: 0,
  maxOutputTokens: 400,
  maxRetries: 0,
  ...more,
});

const Person = z.object({ name: z.string().max(30), age: z.number().int().min(0).max(150) });
const Contact = z.object({
  name: z.string().max(20),
  addresses: z.array(z.object({ street: z.string().max(20), kind: z.enum(["home", "work"]) })).min(1).max(2),
  nickname: z.string().max(10).nullable(),
  friend: z.boolean(),
});
const toolbox = (cities) => ({
  get_weather: tool({
    description: "Get the weather of a city",
    inputSchema: z.object({ city: z.string().max(40) }),
    execute: async ({ city }) => {
      cities.push(city);
      return "sunny, 21 degrees";
    },
  }),
});
const calls = (result) => result.toolCalls.map(({ toolName, input }) => ({ toolName, input }));

await run({
  text: async () => (await generateText(ask(SAY))).text,
  tool: async () => {
    const cities = [];
    const result = await generateText(ask(WEATHER, { tools: toolbox(cities), stopWhen: stepCountIs(3) }));
    return { cities, text: result.text, steps: result.steps.length, reason: result.finishReason };
  },
  tool_streamed: async () => {
    const cities = [];
    const parts = [];
    const result = streamText(ask(WEATHER, { tools: toolbox(cities), stopWhen: stepCountIs(3) }));
    for await (const part of result.fullStream) parts.push(part.type);
    return { cities, text: await result.text, parts: [...new Set(parts)] };
  },
  required: async () => {
    const cities = [];
    return calls(await generateText(ask(SAY, { tools: toolbox(cities), toolChoice: "required" })));
  },
  named: async () => {
    const cities = [];
    const toolChoice = { type: "tool", toolName: "get_weather" };
    return calls(await generateText(ask(WEATHER, { tools: toolbox(cities), toolChoice })));
  },
  none: async () => {
    const cities = [];
    return calls(await generateText(ask(WEATHER, { tools: toolbox(cities), toolChoice: "none" })));
  },
  object: async () => (await generateText(ask(ANNA, { output: Output.object({ schema: Person }) }))).output,
  nested: async () => (await generateText(ask(ANNA, { output: Output.object({ schema: Contact }) }))).output,
  json: async () => (await generateText(ask(ANNA, { output: Output.json() }))).output,
  choice: async () => (await generateText(ask("Sentiment: The food was awful.", { output: Output.choice({ options: ["positive", "negative"] }) }))).output,
  object_streamed: async () => {
    const result = streamText(ask(ANNA, { output: Output.object({ schema: Person }) }));
    const parts = [];
    for await (const part of result.partialOutputStream) parts.push(part);
    return { parts, output: await result.output };
  },
  cut_off: () =>
    generateText(ask(ANNA, { output: Output.object({ schema: Contact }), maxOutputTokens: 9 }))
      .then((result) => result.output)
      .catch((error) => [NoObjectGeneratedError.isInstance(error), error.name]),
  refused: () =>
    generateText(ask(SAY, { providerOptions: { llmatic: { top_logprobs: 99 } } })).catch((error) => [
      APICallError.isInstance(error),
      error.statusCode,
      error.data?.error,
    ]),
});
