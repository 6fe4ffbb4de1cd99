// What applications of openai and of Vercel's AI SDK do to embed texts.

import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { cosineSimilarity, embed, embedMany } from "ai";
import OpenAI from "openai";
import { KEY, MODEL, baseURL, run } from "./examples.mjs";

globalThis.AI_SDK_LOG_WARNINGS = false;
const EMBEDDER = "fake-embedder";
const TEXTS = ["a red rose", "a green meadow", "a rose"];
const client = new OpenAI({ baseURL, apiKey: KEY, maxRetries: 0 });
const provider = createOpenAICompatible({ name: "llmatic", baseURL, apiKey: KEY });
const model = provider.textEmbeddingModel ? provider.textEmbeddingModel(EMBEDDER) : provider.embeddingModel(EMBEDDER);
const refusal = (error) => [error.constructor.name, error.status, error.param, error.message];

await run({
  openai: async () => {
    const reply = await client.embeddings.create({ model: EMBEDDER, input: TEXTS });
    return { vectors: reply.data.map((item) => item.embedding), usage: reply.usage, model: reply.model };
  },
  openai_floats: async () => {
    const reply = await client.embeddings.create({ model: EMBEDDER, input: TEXTS, encoding_format: "float" });
    return reply.data.map((item) => Array.from(Float32Array.from(item.embedding)));
  },
  openai_tokens: async () => (await client.embeddings.create({ model: EMBEDDER, input: [[1, 2], [3]], dimensions: 8 })).data.map((item) => item.embedding.length),
  openai_empty: () => client.embeddings.create({ model: EMBEDDER, input: ["a", ""] }).catch(refusal),
  openai_writer: () => client.embeddings.create({ model: MODEL, input: "x" }).catch(refusal),
  ai_one: async () => {
    const { embedding, usage } = await embed({ model, value: TEXTS[0], maxRetries: 0 });
    return { length: embedding.length, tokens: usage.tokens };
  },
  ai_many: async () => {
    const { embeddings } = await embedMany({ model, values: TEXTS, maxRetries: 0 });
    return [cosineSimilarity(embeddings[0], embeddings[1]), cosineSimilarity(embeddings[0], embeddings[2])];
  },
});
