"""Whose schema is checked, and how OpenAI words what is wrong with it. Pure; any thread."""

from dataclasses import dataclass

from llmatic.core.errors import InvalidRequest

# Where in a schema something stands: keys and indexes from its root.
Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Subject:
    """A schema as errors speak of it: `label` is "response_format 'NAME'" or "function 'NAME'"."""

    label: str
    param: str
    code: str | None = None

    def refusal(self, words: str) -> InvalidRequest:
        """The schema as a whole is not what it must be."""
        return InvalidRequest(f"Invalid schema for {self.label}: {words}", param=self.param, code=self.code)

    def refusal_at(self, path: Path, words: str) -> InvalidRequest:
        """The part of the schema at `path` is not what it must be."""
        return self.refusal(f"In context={path!r}, {words}")


def response_format(name: str, param: str) -> Subject:
    """The schema of an answer."""
    return Subject(f"response_format {name!r}", param)


def function(name: str, param: str) -> Subject:
    """The schema of a function's arguments."""
    return Subject(f"function {name!r}", param, "invalid_function_parameters")
