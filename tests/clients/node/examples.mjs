// Runs a client's examples and prints what came of each, as one JSON object.

export const MODEL = "llmatic-tiny";
export const KEY = "sk-local";
export const baseURL = process.argv[2];

export const ANNA = "Give me a JSON object with name Anna and age 31.";
export const WEATHER = "What is the weather in Paris?";
export const SAY = "Say this is a test";

export async function run(examples) {
  const outcomes = {};
  for (const [name, example] of Object.entries(examples)) {
    try {
      outcomes[name] = { returned: (await example()) ?? null };
    } catch (error) {
      outcomes[name] = { raised: String(error.stack ?? error) };
    }
  }
  console.log(JSON.stringify(outcomes));
}
