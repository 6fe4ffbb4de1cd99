"""Where a prompt ends when the client has begun the answer."""

from typing import Any

import pytest

from llmatic.engines.chat import ChatTemplate, template_source
from llmatic.engines.chat.conversation import Message
from llmatic.engines.chat.prefill import render_continued
from tests.engines.chat.test_template import LLAMA_3, NOW

USER = {"role": "user", "content": "Q"}
THINKS = (
    "{% for m in messages %}<{{ m.role }}>{% if m.role == 'assistant' %}<think></think>{% endif %}{{ m.content }}"
    "</s>{% endfor %}{% if add_generation_prompt %}<assistant><think>\n{% endif %}"
)


def continued(source: str, content: Any) -> tuple[str, str]:
    template = ChatTemplate(source, bos="<s>", eos="</s>")

    def render(messages: Any, is_open: bool) -> str:
        return template.render(messages, add_generation_prompt=is_open, now=NOW)

    messages: list[Message] = [USER, {"role": "assistant", "content": content}]
    return render_continued(render, messages, "\ue000\ue002")


def test_the_answer_goes_on_in_the_last_message() -> None:
    assert continued(template_source("chatml"), "Once upon ") == (
        "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n",
        "Once upon ",
    )


def test_what_the_template_trims_is_not_part_of_it() -> None:
    before, begun = continued(LLAMA_3, " \n Once upon \n")
    assert before.endswith("<|start_header_id|>assistant<|end_header_id|>\n\n")
    assert begun == "Once upon \n"


@pytest.mark.parametrize("content", ["", None, []])
def test_an_empty_beginning(content: Any) -> None:
    before, begun = continued(template_source("chatml"), content)
    assert (before[-12:], begun) == ("m_start|>assistant\n"[-12:], "")


def test_thinking_is_closed_as_in_earlier_answers() -> None:
    assert continued(THINKS, "Once") == ("<user>Q</s><assistant><think></think>", "Once")


def test_parts_of_text() -> None:
    parts = [{"type": "text", "text": "Once"}, {"type": "text", "text": "upon"}]
    assert continued(template_source("chatml"), parts)[1] == "Once\nupon"


def test_a_template_that_does_not_show_the_answer() -> None:
    source = (
        "{% for m in messages %}{% if m.role == 'user' %}[INST]{{ m.content }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}[/INST]{% endif %}"
    )
    assert continued(source, "Once") == ("[INST]Q[/INST]", "Once")
