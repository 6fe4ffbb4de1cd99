# mypy: ignore-errors
"""What applications of openai 0.25 did that later versions cannot: answers, classifications, search."""

import openai

from tests.clients.programs import examples

openai.api_base, openai.api_key = examples.base_url(), examples.KEY
PUPPIES = {
    "search_model": "fake-embedder",
    "model": examples.MODEL,
    "question": "which puppy is happy?",
    "documents": ["Puppy A is happy.", "Puppy B is sad."],
    "examples_context": "In 2017, U.S. life expectancy was 78.6 years.",
    "examples": [["What is human life expectancy in the United States?", "78 years."]],
    "max_tokens": 5,
    "stop": ["\n", "<|endoftext|>"],
}
RAIN = {
    "search_model": "fake-embedder",
    "model": examples.MODEL,
    "query": "It is a raining day :(",
    "examples": [["A happy moment", "Positive"], ["I am sad.", "Negative"], ["I am awesome", "Positive"]],
    "labels": ["Positive", "Negative", "Neutral"],
}


def answer():
    return openai.Answer.create(**PUPPIES).to_dict_recursive()


def answer_expanded():
    made = openai.Answer.create(**PUPPIES, n=2, logprobs=1, expand=["completion"], return_prompt=True)
    return {
        "answers": made.answers,
        "texts": [choice.text for choice in made.completion.choices],
        "tokens": ["".join(choice.logprobs.tokens) for choice in made.completion.choices],
        "prompt": made.prompt,
    }


def classification():
    return openai.Classification.create(**RAIN).to_dict_recursive()


def classification_by_the_default_search_model():
    made = openai.Classification.create(**dict(RAIN, search_model="ada"))
    return [made.search_model, made.label]


def missing_file():
    try:
        openai.Answer.create(**dict(PUPPIES, documents=None, file="file-abc"))
    except openai.error.InvalidRequestError as error:
        return [error.http_status, error.param]


def edit():
    fixed = {"input": "hello world", "instruction": "Repeat the text."}
    made = openai.Edit.create(model=examples.MODEL, n=2, temperature=0, **fixed)
    return {"texts": [choice.text for choice in made.choices], "usage": made.usage.to_dict_recursive()}


def search_by_engine():
    texts = ["a white house", "hospital", "school"]
    found = openai.Engine("fake-embedder").search(documents=texts, query="a house")
    return [[item["document"], item["score"]] for item in found["data"]]


if __name__ == "__main__":
    examples.run(
        answer, answer_expanded, classification, classification_by_the_default_search_model,
        missing_file, edit, search_by_engine,
    )  # fmt: skip
