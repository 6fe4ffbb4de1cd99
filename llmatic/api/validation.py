"""Request bodies against `openapi.yaml`.

Owns the contract at run time: one compiled test per operation, asked first (some microseconds); only a body
that fails it is explained (`schema_errors`). Never applies defaults and never judges one field by another:
that is the services' work, save for fields that mean nothing without another. Runs on the event loop; after
loading nothing changes but a cache of compiled tests.

openapi-core checks the document itself. Importing it and checking takes three quarters of a second, as long
as the whole start of the server may last, so `load` leaves it out and `check_document` does it, for the tests
and for `llmatic models check`. Its own request validation is not used: it takes 20 ms for 100 messages.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

import jsonschema_rs
import yaml

from llmatic.api.schema_errors import Explainer, IsValid, Schema
from llmatic.core.errors import ConfigError, InvalidRequest

_LARGEST_EXACT_FLOAT = 2.0**53
_TOKENS = (int, float, list)


class _Operation:
    """What is known of one operation's body."""

    __slots__ = ("fields", "integers", "is_valid", "schema")

    def __init__(self, schema: Schema, is_valid: IsValid, flat: Schema, explainer: Explainer) -> None:
        self.schema = schema
        self.is_valid = is_valid
        self.fields = frozenset(flat["properties"])
        kinds = {name: explainer.flatten(field).get("type", ()) for name, field in flat["properties"].items()}
        self.integers = frozenset(name for name, kind in kinds.items() if "integer" in kind)


class Contract:
    """The loaded document. Safe to share between requests."""

    def __init__(self, raw: bytes, *, unknown_fields: Literal["refuse", "ignore"] = "refuse") -> None:
        self._raw = raw
        self._ignores_unknown = unknown_fields == "ignore"
        self._document: dict[str, Any] = yaml.load(raw, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        self._explainer = Explainer(self._document, self._compile)
        self._operations = {
            operation["operationId"]: self._operation(
                operation["requestBody"]["content"]["application/json"]["schema"]
            )
            for path in self._document["paths"].values()
            for operation in path.values()
            if isinstance(operation, dict) and "requestBody" in operation
        }

    @classmethod
    def load(cls, path: Path, *, unknown_fields: Literal["refuse", "ignore"] = "refuse") -> Self:
        """Read the document. Raises ConfigError if it is not there."""
        try:
            raw = path.read_bytes()
        except OSError as error:
            raise ConfigError(f"The API description {path} cannot be read: {error.strerror}.") from None
        return cls(raw, unknown_fields=unknown_fields)

    @property
    def document(self) -> Mapping[str, Any]:
        """The document as parsed; not to be changed."""
        return self._document

    def document_bytes(self) -> bytes:
        """The file as it stands, for `GET /openapi.yaml`."""
        return self._raw

    def check_document(self) -> None:
        """Let openapi-core judge the document. Slow. Raises ConfigError."""
        from openapi_core import OpenAPI
        from openapi_core.exceptions import OpenAPIError
        from openapi_spec_validator.validation.exceptions import OpenAPIValidationError

        try:
            OpenAPI.from_dict(self._document)
        except OpenAPIValidationError as error:
            where = "/".join(map(str, error.absolute_path))
            raise ConfigError(f"openapi.yaml is not valid OpenAPI: {where}: {error.message}") from error
        except OpenAPIError as error:
            raise ConfigError(f"openapi.yaml is not valid OpenAPI: {error}") from error

    def check(self, operation_id: str, body: dict[str, Any]) -> dict[str, Any]:
        """The body to serve: nulls that mean absent are gone, 1.0 is 1 where an integer is due.

        The given body is not changed, but parts of it are shared with the result. An assistant's null
        content stays. With `unknown_fields: ignore` unknown fields are gone too. Raises InvalidRequest with
        the one error to answer.
        """
        operation = self._operations[operation_id]
        body = _without_nulls(body)
        if self._ignores_unknown and not body.keys() <= operation.fields:
            body = {name: value for name, value in body.items() if name in operation.fields}
        if not operation.is_valid(body):
            body = self._second_look(operation, body)
        return self._with_integers(operation, body)

    def _second_look(self, operation: _Operation, body: dict[str, Any]) -> dict[str, Any]:
        if self._ignores_unknown:
            body = self._explainer.without_unknown(operation.schema, body)
            if operation.is_valid(body):
                return body
        error = self._explainer.first_error(operation.schema, body)
        raise error or InvalidRequest(
            "The request does not fit the description of this API in /openapi.yaml."
        )

    def _with_integers(self, operation: _Operation, body: dict[str, Any]) -> dict[str, Any]:
        """JSON has one kind of number: 1.0 is valid where an integer is due, but engines want an int."""
        changed: dict[str, Any] = {
            name: int(value)
            for name, value in body.items()
            if type(value) is float and name in operation.integers
        }
        for name in ("prompt", "input"):
            prompt = body.get(name)
            if type(prompt) is list and prompt and type(prompt[0]) in _TOKENS:
                changed |= _integer_tokens(name, prompt)
        if not changed:
            return body
        body = body | changed
        # Beyond 2**53 the test above saw a rounded number.
        if any(type(value) is int and abs(value) > _LARGEST_EXACT_FLOAT for value in changed.values()):
            error = self._explainer.first_error(operation.schema, body)
            if error is not None:
                raise error
        return body

    def _operation(self, schema: Schema) -> _Operation:
        return _Operation(schema, self._compile(schema), self._explainer.flatten(schema), self._explainer)

    def _compile(self, schema: Schema) -> IsValid:
        # With all components each test would be slow to make and large.
        found: dict[str, Schema] = {}
        _collect(schema, self._document["components"]["schemas"], found)
        whole = {**schema, "components": {"schemas": found}}
        is_valid: IsValid = jsonschema_rs.Draft202012Validator(whole).is_valid
        return is_valid


def _collect(node: Any, schemas: Mapping[str, Schema], found: dict[str, Schema]) -> None:
    """The components that a schema refers to, and those that they refer to."""
    if isinstance(node, dict):
        name = str(node.get("$ref", "")).removeprefix("#/components/schemas/")
        if name in schemas and name not in found:
            found[name] = schemas[name]
            _collect(schemas[name], schemas, found)
        for child in node.values():
            _collect(child, schemas, found)
    elif isinstance(node, list):
        for child in node:
            _collect(child, schemas, found)


def _without_nulls(body: dict[str, Any]) -> dict[str, Any]:
    """At the top, in messages (but for `content`) and in stream_options null means absent."""
    if None in body.values():
        body = {name: value for name, value in body.items() if value is not None}
    messages = body.get("messages")
    if type(messages) is list:
        for message in messages:
            if type(message) is dict and None in message.values():
                body = body | {"messages": [_message_without_nulls(message) for message in messages]}
                break
    options = body.get("stream_options")
    if type(options) is dict and None in options.values():
        body = body | {
            "stream_options": {name: value for name, value in options.items() if value is not None}
        }
    return body


def _message_without_nulls(message: Any) -> Any:
    if type(message) is not dict:
        return message
    return {name: value for name, value in message.items() if value is not None or name == "content"}


def _integer_tokens(name: str, prompt: list[Any]) -> dict[str, Any]:
    """Token ids as ints, if any of them is not."""
    if type(prompt[0]) is not list:
        return {name: [int(token) for token in prompt]} if float in set(map(type, prompt)) else {}
    if not any(float in set(map(type, ids)) for ids in prompt):
        return {}
    return {name: [[int(token) for token in ids] for ids in prompt]}
