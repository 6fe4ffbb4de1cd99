"""How one chat template wants tools, calls, results and reasoning.

Owns the words for it; `probing.py` finds them out, `conversation.py` and `written.py` act on them. Pure.
"""

from dataclasses import dataclass
from typing import Literal

Arguments = Literal["text", "objects"]
Calls = Literal["template", "python", "granite", "generic"]
Ids = Literal["any", "short", "position"]


@dataclass(frozen=True, slots=True)
class Traits:
    """What was found out about one template.

    `presents_tools`: it lists tools. `calls`: who writes earlier calls: the template from `tool_calls`, or
    `written.py` as text of the message, in the way of the model ("python": LFM2's, "granite") or in the
    generic one. `results`: it renders messages of role tool. `call_example`: how it writes a call, for a
    template that writes calls but lists no tools. `arguments` of a call are JSON text or an object. `ids` of
    calls: "short" are Mistral's 9 letters and digits, "position" Kimi's `functions.<name>:<index>`.
    `one_call_each`: it shows only one call of a message. `calls_alone`: calls beside words are lost.
    `null_content`: the content of an assistant that only calls may be none. `reasoning`: the key of an
    assistant's message from which it reads thoughts; "content": a part of type "thinking"; "": it has no
    place for them. `reasoning_or_content`: beside calls it takes only one of the two. `system`: it has a
    place for a system message.
    """

    presents_tools: bool = False
    calls: Calls = "generic"
    results: bool = False
    call_example: str = ""
    arguments: Arguments = "text"
    ids: Ids = "any"
    one_call_each: bool = False
    calls_alone: bool = False
    null_content: bool = False
    reasoning: str = ""
    reasoning_or_content: bool = False
    system: bool = True

    @property
    def is_generic(self) -> bool:
        """Whether the model is told to write calls in the generic way, whatever its family's own is."""
        return self.calls == "generic"
