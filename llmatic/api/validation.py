"""Request bodies, forms and query strings against `openapi.yaml`.

Owns the contract at run time: one test per operation, compiled when it is first wanted and asked first (some
microseconds); only a body that fails it is explained (`schema_errors`). Never applies defaults and never
judges one field by another: that is the services' work, save for fields that mean nothing without another.
Runs on the event loop; after loading nothing changes but a cache of compiled tests.

openapi-core checks the document itself. Importing it and checking takes three quarters of a second, as long
as the whole start of the server may last, so `load` leaves it out and `check_document` does it, for the tests
and for `llmatic models check`. Its own request validation is not used: it takes 20 ms for 100 messages.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

import jsonschema_rs

from llmatic.api.contract_copy import parsed
from llmatic.api.schema_errors import Explainer, IsValid, Schema
from llmatic.api.schema_words import wrong_type
from llmatic.api.text_values import as_object, query_pairs
from llmatic.core.errors import ConfigError, InvalidRequest

_LARGEST_EXACT_FLOAT = 2.0**53
_TOKENS = (int, float, list)
_JSON, _FORM = "application/json", "multipart/form-data"


class _Operation:
    """What is known of one operation's body, or of its query."""

    def __init__(
        self, schema: Schema, explainer: Explainer, compile_schema: Callable[[Schema], IsValid]
    ) -> None:
        self.schema = schema
        self._explainer = explainer
        self._compile = compile_schema

    @cached_property
    def is_valid(self) -> IsValid:
        """The compiled test."""
        return self._compile(self.schema)

    @cached_property
    def properties(self) -> Mapping[str, Schema]:
        """The fields by name, references followed."""
        flatten = self._explainer.flatten
        return {name: flatten(field) for name, field in flatten(self.schema)["properties"].items()}

    @cached_property
    def keeps_nulls(self) -> bool:
        """Whether null says something other than nothing."""
        return "x-llmatic-keeps-nulls" in self._explainer.flatten(self.schema)

    @cached_property
    def integers(self) -> frozenset[str]:
        """The fields that may be integers."""
        return frozenset(
            name for name, field in self.properties.items() if "integer" in field.get("type", ())
        )


class Contract:
    """The loaded document. Safe to share between requests."""

    def __init__(
        self,
        raw: bytes,
        *,
        unknown_fields: Literal["refuse", "ignore"] = "refuse",
        copies: Path | None = None,
    ) -> None:
        self._raw = raw
        self._ignores_unknown = unknown_fields == "ignore"
        self._document = parsed(raw, copies)
        self._explainer = Explainer(self._document, self._compile)
        self._operations: dict[str, _Operation] = {}
        self._queries: dict[str, _Operation] = {}
        for path in self._document["paths"].values():
            for operation in path.values():
                if isinstance(operation, dict) and isinstance(operation.get("operationId"), str):
                    self._add(operation["operationId"], operation, path.get("parameters", []))

    @classmethod
    def load(
        cls,
        path: Path,
        *,
        unknown_fields: Literal["refuse", "ignore"] = "refuse",
        copies: Path | None = None,
    ) -> Self:
        """Read the document. Raises ConfigError if it is not there.

        `copies`: a folder to keep it in as parsed, which makes the next start quicker.
        """
        try:
            raw = path.read_bytes()
        except OSError as error:
            raise ConfigError(f"The API description {path} cannot be read: {error.strerror}.") from None
        return cls(raw, unknown_fields=unknown_fields, copies=copies)

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
        return self._checked(operation, body if operation.keeps_nulls else _without_nulls(body))

    def check_query(self, operation_id: str, query: bytes) -> dict[str, Any]:
        """The parameters of a query string, as numbers and booleans where those are due.

        Raises InvalidRequest, as for a body: also for a parameter that the operation does not know.
        """
        operation = self._queries[operation_id]
        pairs = query_pairs(query) if query else []
        return self._checked(operation, as_object(pairs, operation.schema, self._explainer.flatten))

    def check_form(
        self, operation_id: str, fields: Iterable[tuple[str, str]], files: Iterable[str]
    ) -> dict[str, Any]:
        """The fields of a form by name, as numbers and booleans where those are due; files are left out.

        `files`: the names of the fields that were files. Raises InvalidRequest, as for a body.
        """
        operation = self._operations[operation_id]
        body = as_object(fields, operation.schema, self._explainer.flatten)
        known = operation.properties
        wanted = {name for name, field in known.items() if field.get("format") == "binary"}
        for name in wanted & body.keys():
            raise wrong_type("a file", body[name], (name,))
        for name in files:
            if name in known and name not in wanted:
                raise wrong_type("a string", b"", (name,))
        found = self._checked(operation, {**body, **dict.fromkeys(files, "")})
        return {name: value for name, value in found.items() if name not in wanted}

    def _checked(self, operation: _Operation, body: dict[str, Any]) -> dict[str, Any]:
        if self._ignores_unknown and not body.keys() <= operation.properties.keys():
            body = {name: value for name, value in body.items() if name in operation.properties}
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

    def _add(self, operation_id: str, operation: Mapping[str, Any], shared: list[Schema]) -> None:
        content = operation.get("requestBody", {}).get("content", {})
        for media_type in (_JSON, _FORM):
            if media_type in content:
                self._operations[operation_id] = self._operation(content[media_type]["schema"])
        parameters = map(self._parameter, (*shared, *operation.get("parameters", [])))
        wanted = [parameter for parameter in parameters if parameter["in"] == "query"]
        schema = {
            "type": "object",
            "additionalProperties": False,
            "required": [parameter["name"] for parameter in wanted if parameter.get("required")],
            "properties": {parameter["name"]: parameter["schema"] for parameter in wanted},
        }
        self._queries[operation_id] = self._operation(schema)

    def _parameter(self, parameter: Schema) -> Schema:
        name = parameter.get("$ref", "").rpartition("/")[2]
        found: Schema = self._document["components"]["parameters"][name] if name else parameter
        return found

    def _operation(self, schema: Schema) -> _Operation:
        return _Operation(schema, self._explainer, self._compile)

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
