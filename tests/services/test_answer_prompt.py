from llmatic.services.answer_prompt import MARKS, answer_prompt, read_answer

EXAMPLES = [["How long do people live?", "78 years."], [" Where? ", "Here.\n"]]


def test_the_prompt_has_openais_form_with_the_best_document_last() -> None:
    prompt = answer_prompt(
        "Who is happy?", EXAMPLES, "Life is 78 years long.", ["A is happy.\n", " B is sad."]
    )
    assert prompt == (
        "Please answer the question according to the above context.\n"
        "\n"
        "===\n"
        "Context: Life is 78 years long.\n"
        "===\n"
        "Q: How long do people live?\n"
        "A: 78 years.\n"
        "---\n"
        "Q: Where?\n"
        "A: Here.\n"
        "===\n"
        "Context: B is sad.\n"
        "A is happy.\n"
        "===\n"
        "Q: Who is happy?\n"
        "A:"
    )


def test_what_is_empty_leaves_no_empty_frame() -> None:
    prompt = answer_prompt("Who?", EXAMPLES[:1], " ", [])
    assert prompt == (
        "Please answer the question according to the above context.\n"
        "\n"
        "Q: How long do people live?\nA: 78 years.\n---\nQ: Who?\nA:"
    )


def test_braces_and_marks_in_texts_stay_as_they_are() -> None:
    prompt = answer_prompt("{0} {x}", [["{q}", "%s"]], "===", ["---\n{context}"])
    assert "Q: {q}\nA: %s\n" in prompt
    assert "Context: ===\n" in prompt
    assert "Context: ---\n{context}\n===\nQ: {0} {x}\nA:" in prompt


def test_an_answer_ends_where_the_model_goes_on() -> None:
    for mark in MARKS:
        assert read_answer(f" puppy A.\nIt is.{mark} more\nQ: again") == "puppy A.\nIt is."
    assert read_answer(" puppy A. \n") == "puppy A."
    assert read_answer("") == ""
    assert read_answer("A dash --- and Q: stay") == "A dash --- and Q: stay"
