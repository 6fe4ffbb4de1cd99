// What applications of openai do with files and uploads.

import OpenAI, { toFile } from "openai";
import { KEY, baseURL, run } from "./examples.mjs";

const client = new OpenAI({ baseURL, apiKey: KEY, maxRetries: 0 });
const LINES = '{"text": "Puppy A is happy."}\n';

await run({
  file: async () => {
    const file = await toFile(Buffer.from(LINES), "щенки.jsonl");
    const made = await client.files.create({
      file, purpose: "answers", expires_after: { anchor: "created_at", seconds: 3600 },
    });
    const listed = [];
    for await (const each of client.files.list({ purpose: "answers" })) listed.push(each.id);
    const ready = await client.files.waitForProcessing(made.id);
    const content = await (await client.files.content(made.id)).text();
    const gone = await client.files.delete(made.id);
    const missing = await client.files.retrieve(made.id).catch((error) => [error.constructor.name, error.message]);
    return { made, listed, ready, content, gone, missing };
  },
  upload: async () => {
    const upload = await client.uploads.create({
      bytes: 6, filename: "a.txt", mime_type: "text/plain", purpose: "user_data",
    });
    const ids = [];
    for (const text of ["def", "abc"]) {
      const data = await toFile(Buffer.from(text), "part");
      ids.push((await client.uploads.parts.create(upload.id, { data })).id);
    }
    const done = await client.uploads.complete(upload.id, { part_ids: ids.reverse() });
    const content = await (await client.files.content(done.file.id)).text();
    await client.files.delete(done.file.id);
    const other = await client.uploads.create({
      bytes: 6, filename: "a.txt", mime_type: "text/plain", purpose: "user_data",
    });
    return { status: done.status, content, cancelled: (await client.uploads.cancel(other.id)).status };
  },
});
