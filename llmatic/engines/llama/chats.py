"""How a model talks: its chat template, the family of its answers, and what reads prompts and holds answers.

Owns their putting together. Runs in the engine's thread at load; keeps nothing.
"""

from dataclasses import dataclass

from llmatic.config import ModelSpec
from llmatic.engines.chat.builtin import template_source
from llmatic.engines.chat.detection import family_named, find_family
from llmatic.engines.chat.families import Family
from llmatic.engines.chat.template import ChatTemplate, InvalidTemplate
from llmatic.engines.llama.forms import Forms
from llmatic.engines.llama.grammar_vocabulary import Markup, grammar_tokenizer
from llmatic.engines.llama.model import Model
from llmatic.engines.llama.prompt import PromptReader
from llmatic.engines.llama.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class Chats:
    """`template_error`: why the model's own template cannot be used. `family` None: it cannot chat."""

    reader: PromptReader
    forms: Forms
    family: Family | None
    has_template: bool
    template_error: str | None

    @property
    def format_name(self) -> str:
        """The family's name, or nothing."""
        return "" if self.family is None else self.family.name


def open_chats(spec: ModelSpec, model: Model) -> Chats:
    """Raises ConfigError if the configuration names a template or a family that cannot be."""
    vocabulary = model.vocabulary
    template, error = _compile_template(spec, model)
    reader = PromptReader(vocabulary, template, template_error=error)
    family = None if template is None else _family(spec, template)
    forms = Forms(
        vocabulary,
        family,
        presents_tools=not reader.traits.is_generic,
        mark=Markup(vocabulary),
        tokenizer=lambda: grammar_tokenizer(vocabulary),
    )
    return Chats(reader, forms, family, template is not None, error)


def _compile_template(spec: ModelSpec, model: Model) -> tuple[ChatTemplate | None, str | None]:
    """The template or why there is none; a broken one in the configuration is a ConfigError."""
    source = template_source(spec.chat_template) if spec.chat_template else model.chat_template
    if source is None:
        return None, None
    try:
        bos, eos = (_text(model.vocabulary, token) for token in (model.vocabulary.bos, model.vocabulary.eos))
        return ChatTemplate(source, bos=bos, eos=eos), None
    except InvalidTemplate as error:
        if spec.chat_template:
            raise
        return None, f"its chat template cannot be used ({error.message})"


def _text(vocabulary: Vocabulary, token: int | None) -> str:
    return "" if token is None else vocabulary.markup(token)


def _family(spec: ModelSpec, template: ChatTemplate) -> Family:
    """As configured, or as the template tells. Raises ConfigError."""
    if spec.chat_format is not None:
        return family_named(spec.chat_format, template.source)
    return find_family(template.source)
