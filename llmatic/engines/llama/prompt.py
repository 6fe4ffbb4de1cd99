"""Prompts to token ids.

Owns the rules of tokenisation: where BOS goes, what markup means, how a chat is rendered. Pure; time comes in
as an argument. Usable from any thread.

Text that a client sends with a chat cannot become a control token: messages, tools, arguments and results of
calls, arguments of the template. See `literals.py`: the template's own parts are tokenised with markup, typed
control-token texts without. So a user who types "<|im_end|>" has written six ordinary characters and more,
not the end of the turn. (A SentencePiece vocabulary may put a space before such a text.)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from llmatic.core.errors import InvalidRequest
from llmatic.core.types import ChatPrompt, InfillPrompt, Prompt, TextPrompt, TokenPrompt
from llmatic.engines.chat.conversation import Conversation, Message, arrange
from llmatic.engines.chat.effort import Efforts, find_efforts
from llmatic.engines.chat.prefill import render_continued
from llmatic.engines.chat.probing import find_traits
from llmatic.engines.chat.template import ChatTemplate
from llmatic.engines.chat.traits import Traits
from llmatic.engines.chat.written import write_out
from llmatic.engines.llama.literals import Literals, strings
from llmatic.engines.llama.vocabulary import Vocabulary

Segment = tuple[int, ...] | int


@dataclass(frozen=True, slots=True)
class Reading:
    """A prompt as the model is to read it.

    `ids`: at least one unless there are media; what stands for media is not among them. Of a chat, `rendered`
    is the text up to `prefill`, placeholders in place of control-token texts that users typed, and `prefill`
    the beginning of the answer, which is the end of the prompt. `segments`, if there are media: ids of text,
    and indices of media, in order.
    """

    ids: tuple[int, ...]
    rendered: str = ""
    prefill: str = ""
    segments: tuple[Segment, ...] = ()


class PromptReader:
    """Turns the prompts of one model's requests into token ids."""

    def __init__(
        self, vocabulary: Vocabulary, template: ChatTemplate | None, *, template_error: str | None = None
    ) -> None:
        """`template` None: chats are refused, with `template_error` if that says why."""
        self._vocabulary = vocabulary
        self._template = template
        self._template_error = template_error
        self.traits = Traits() if template is None else find_traits(template)
        self._efforts = Efforts() if template is None else find_efforts(template)

    def read(self, prompt: Prompt, now: datetime) -> Reading:
        """What the model is to read. Raises InvalidRequest naming the field at fault."""
        if isinstance(prompt, ChatPrompt):
            try:
                return self._read_chat(prompt, now)
            except RecursionError:
                raise InvalidRequest(
                    "The request's values are nested too deeply.", param="messages"
                ) from None
        if isinstance(prompt, TextPrompt):
            ids = self._begin(self._vocabulary.tokenize(prompt.text, parse_special=True))
        elif isinstance(prompt, TokenPrompt):
            ids = self._check_ids(prompt.token_ids)
        else:
            ids = self._read_infill(prompt)
        return Reading(tuple(ids))

    def tokens(self, text: str) -> list[int]:
        """Plain text as the middle of an answer."""
        return self._vocabulary.tokenize(text, parse_special=False)

    def echo(self, prompt: Prompt, ids: Sequence[int]) -> str:
        """The text that `echo` repeats."""
        if isinstance(prompt, TextPrompt):
            return prompt.text
        if isinstance(prompt, InfillPrompt):
            return prompt.prefix
        return self._vocabulary.spell(ids).decode("utf-8", "replace")

    def _begin(self, ids: list[int]) -> list[int]:
        """With BOS in front, once, where the model wants it; an empty prompt becomes BOS or the end token."""
        vocabulary = self._vocabulary
        bos = vocabulary.bos
        if vocabulary.add_bos and bos is not None and ids[:1] != [bos]:
            return [bos, *ids]
        if ids:
            return ids
        first = bos if bos is not None else vocabulary.eos
        return [first if first is not None else min(vocabulary.eog, default=0)]

    def _check_ids(self, ids: Sequence[int]) -> list[int]:
        n_vocab = self._vocabulary.n_tokens
        for token in ids:
            if not 0 <= token < n_vocab:
                raise InvalidRequest(
                    f"Invalid token id {token} in 'prompt': this model's ids run from 0 to {n_vocab - 1}.",
                    param="prompt",
                )
        return list(ids) or self._begin([])

    def _read_infill(self, prompt: InfillPrompt) -> list[int]:
        vocabulary = self._vocabulary
        if vocabulary.infill is None:
            raise InvalidRequest(
                "This model does not support suffix: it has no fill-in-the-middle tokens.", param="suffix"
            )
        before, after, middle = vocabulary.infill
        prefix = vocabulary.tokenize(prompt.prefix, parse_special=False)
        suffix = vocabulary.tokenize(prompt.suffix, parse_special=False)
        ids = [before, *prefix, after, *suffix, middle]
        return self._begin(ids) if vocabulary.add_bos else ids

    def _read_chat(self, prompt: ChatPrompt, now: datetime) -> Reading:
        template = self._template
        if template is None:
            why = self._template_error or "it has no chat template"
            raise InvalidRequest(f"This model cannot chat: {why}. Use /v1/completions.", param="model")
        effort = self._efforts.names(prompt.reasoning_effort, is_wish=prompt.effort_is_wish)
        names = {**effort, **prompt.template_kwargs}
        conversation = arrange(prompt, self.traits)
        texts = strings([conversation.messages, conversation.tools, names])
        literals = Literals(self._vocabulary.special_pattern, texts)
        hidden = Conversation(literals.hide(conversation.messages), literals.hide(conversation.tools))
        conversation = write_out(hidden, self.traits)
        messages, tools = conversation.messages, conversation.tools
        if prompt.media:
            messages = [_with_media(message, literals) for message in messages]
        template_kwargs = literals.hide(names)

        def render(messages: Sequence[Message], is_open: bool) -> str:
            return template.render(
                messages, tools=tools, add_generation_prompt=is_open, now=now, template_kwargs=template_kwargs
            )

        if prompt.continues:
            rendered, prefill = render_continued(render, messages, literals.sentinel)
        else:
            rendered, prefill = render(messages, True), ""
        segments = self._tokenize(literals, rendered + prefill, len(prompt.media))
        ids = tuple(token for segment in segments if not isinstance(segment, int) for token in segment)
        return Reading(ids, rendered, literals.reveal(prefill), segments if prompt.media else ())

    def _tokenize(self, literals: Literals, rendered: str, n_media: int) -> tuple[Segment, ...]:
        """Ids of the rendered text, with markup where it is the template's, and the media between."""
        segments: list[list[int] | int] = [[]]
        for piece in literals.cut(rendered):
            if isinstance(piece, int):
                segments += [piece, []]
            else:
                text, is_markup = piece
                ids = segments[-1]
                assert isinstance(ids, list)
                ids += self._vocabulary.tokenize(text, parse_special=is_markup)
        shown = [segment for segment in segments if isinstance(segment, int)]
        if sorted(shown) != list(range(n_media)):
            raise InvalidRequest(
                "The model's chat template has no place for the media in these messages.", param="messages"
            )
        first = segments[0]
        assert isinstance(first, list)
        begun = self._begin(first) if first or not shown or self._vocabulary.add_bos else []
        every = [begun, *segments[1:]]
        return tuple(
            segment if isinstance(segment, int) else tuple(segment) for segment in every if segment != []
        )


def _with_media(message: Message, literals: Literals) -> Mapping[str, Any]:
    """The message with placeholders in place of its media, without line breaks around them."""
    content = message.get("content")
    if not isinstance(content, list | tuple):
        return message
    texts: list[str] = []
    is_behind_media = False
    others = []
    for part in content:
        is_media = part.get("type") == "media"
        text = literals.media(part["index"]) if is_media else part.get("text")
        if not isinstance(text, str):
            others.append(part)
        elif texts and (is_media or is_behind_media):
            texts[-1] += text
        else:
            texts.append(text)
        is_behind_media = is_media
    return {**message, "content": [*others, *({"type": "text", "text": text} for text in texts)]}
