"""What must not be kept: texts that match an operator's patterns, replaced by a mark.

Owns the walk over recorded JSON. The patterns are RE2's, which take time in proportion to the text whatever
they and the text are. Pure; any thread.
"""

from collections.abc import Sequence
from typing import Any, Final

# By these a reader knows an object and its parts again.
IDENTITY_KEYS: Final = frozenset(
    {
        *("id", "object", "role", "type", "status", "model", "finish_reason", "stop_reason"),
        *("tool_call_id", "call_id", "tool_use_id", "previous_response_id", "conversation"),
        *("content_type", "media_type", "format", "detail", "service_tier", "system_fingerprint"),
        *("tool_choice", "reasoning_effort", "effort", "verbosity", "truncation"),
    }
)
# What is in these was named by whoever asked, keys too. A call's `input` and `arguments` are, as objects.
FREE_KEYS: Final = frozenset(
    {
        *("metadata", "data", "parameters", "schema", "input_schema", "result_schema", "arguments"),
        *("logit_bias", "chat_template_kwargs", "properties"),
    }
)


class Redaction:
    """Patterns and the mark that stands for what they match. Without patterns nothing is changed."""

    def __init__(self, patterns: Sequence[str] = (), mark: str = "<redacted>") -> None:
        self._patterns: list[Any] = []
        self._mark = mark
        if patterns:
            import re2

            self._patterns = [re2.compile(pattern) for pattern in patterns]

    @property
    def is_needed(self) -> bool:
        """Whether there is any pattern."""
        return bool(self._patterns)

    def text(self, text: str) -> str:
        """The text without what matches."""
        for pattern in self._patterns:
            text = pattern.sub(self._marked, text)
        return text

    def json(self, value: Any) -> Any:
        """A copy of a request or a reply in which every text is without what matches.

        Texts by which a client knows an object again (ids, roles, types) stay as they are, and so do the
        names of fields; what the caller named is redacted with its names.
        """
        if not self._patterns:
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list | tuple):
            return [self.json(item) for item in value]
        if isinstance(value, dict):
            return {key: self._field(key, item, value) for key, item in value.items()}
        return value

    def free(self, value: Any) -> Any:
        """A copy of what the caller has made up: every text and every name is without what matches."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list | tuple):
            return [self.free(item) for item in value]
        if isinstance(value, dict):
            return {self.text(key): self.free(item) for key, item in value.items()}
        return value

    def _field(self, key: str, item: Any, holder: dict[str, Any]) -> Any:
        if isinstance(item, str):
            return item if key in IDENTITY_KEYS else self.text(item)
        is_call = key == "input" and holder.get("type") == "tool_use"
        return self.free(item) if is_call or key in FREE_KEYS else self.json(item)

    def _marked(self, _match: Any) -> str:
        return self._mark
