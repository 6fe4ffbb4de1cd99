from llmatic.core.types import ChatPrompt, TextPrompt
from llmatic.services.edit_prompt import END_MARK, edit_prompt


def messages(instruction: str, text: str) -> list[tuple[str, str]]:
    prompt = edit_prompt(instruction, text, is_chat=True)
    assert isinstance(prompt, ChatPrompt)
    return [(message["role"], message["content"]) for message in prompt.messages]


def plain(instruction: str, text: str) -> str:
    prompt = edit_prompt(instruction, text, is_chat=False)
    assert isinstance(prompt, TextPrompt)
    return prompt.text


def test_a_chat_model_is_told_what_to_do_with_the_text_as_it_is() -> None:
    (system, rule), (user, asked) = messages("Fix the spelling.", "  a {b}\n\nc  ")
    assert (system, user) == ("system", "user")
    assert "edit" in rule
    assert asked == "Fix the spelling:\n\n  a {b}\n\nc  "


def test_without_a_text_a_new_one_is_asked_for() -> None:
    for blank in ("", " \n"):
        (_, rule), (_, asked) = messages("Write a haiku.", blank)
        assert "write" in rule
        assert asked == "Write a haiku."


def test_a_model_that_only_continues_sees_where_an_edited_text_ends() -> None:
    text = plain("Fix\n the spelling.", "\na {input} {b}\n\nc\n")
    assert text.endswith("Text:\na {input} {b}\n\nc\nInstruction: Fix the spelling.\nEdited text:\n")
    assert text.count(END_MARK) == 1


def test_what_is_put_into_the_plain_text_is_not_read_as_a_form() -> None:
    assert "Text:\n{instruction} {0} %s\nInstruction: {input}\n" in plain("{input}", "{instruction} {0} %s")
