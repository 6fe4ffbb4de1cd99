"""The contract as a document: valid, complete, with examples that work, and understood by the explainer."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import jsonschema_rs
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.routing import Route

from llmatic.api.resource import Resource
from llmatic.api.routes import PREFIXES, build_routes
from llmatic.api.validation import Contract
from llmatic.app import contract_path
from llmatic.core.errors import ConfigError, InvalidRequest
from tests.contract_check import assert_chunk_matches, assert_response_matches, document, operations

FALLBACK = "does not fit the description"
HELLO = {"role": "user", "content": "hi"}


@pytest.fixture(scope="module")
def contract() -> Contract:
    return Contract.load(contract_path())


def test_openapi_core_accepts_the_document(contract: Contract) -> None:
    contract.check_document()


def test_openapi_core_would_find_a_fault() -> None:
    broken = contract_path().read_bytes().replace(b"operationId: listModels", b"operationId: [listModels]", 1)
    with pytest.raises(ConfigError, match="not valid OpenAPI"):
        Contract(broken).check_document()


def test_stricter_yaml_parsers_read_the_same() -> None:
    # PyYAML's own parser, like many others, takes an unquoted question mark in braces for a key.
    assert yaml.load(contract_path().read_bytes(), Loader=yaml.SafeLoader) == document()


def test_loading_leaves_the_slow_checker_out() -> None:
    program = "import sys; import llmatic.api.validation; print('openapi_core' in sys.modules)"
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == "False"


def test_every_route_is_described_and_every_description_served(contract: Contract) -> None:
    described = {(method, prefix + path) for path, method, prefixes, _ in operations() for prefix in prefixes}
    assert served(contract) == described


def served(contract: Contract) -> set[tuple[str, str]]:
    """Methods and paths of the URL table, in the document's notation."""
    context: Any = SimpleNamespace(
        contract=contract, registry=None, pool=None, capabilities=None, settings=SimpleNamespace()
    )
    status: Any = SimpleNamespace(
        index=None, health=None, ready=None, metrics=None, contract=None, model=None
    )
    pairs = set()
    for route in build_routes(context, status):
        assert isinstance(route, Route)
        assert isinstance(route.endpoint, Resource)
        path = route.path.replace(":path}", "}")
        pairs |= {(method, path) for method in route.endpoint._handlers if method != "HEAD"}
    return pairs


def test_prefixes_are_the_servers() -> None:
    assert [server["url"].rstrip("/") for server in document()["servers"]] == list(PREFIXES)


def test_request_examples_pass(contract: Contract) -> None:
    with_bodies = [operation for *_, operation in operations() if "requestBody" in operation]
    assert len(with_bodies) >= 6
    for operation in with_bodies:
        # Forms are checked in tests/api/test_files.py and test_uploads.py.
        examples = operation["requestBody"]["content"].get("application/json", {"examples": {}})["examples"]
        for example in examples.values():
            body = example["value"]
            assert contract.check(operation["operationId"], body) == body
            assert body.get("model", "llmatic-tiny") in ("llmatic-tiny", "all-MiniLM-L6-v2")


def test_response_examples_pass() -> None:
    n_examples = 0
    for *_, operation in operations():
        for status, response in operation["responses"].items():
            if "$ref" in response:
                response = document()["components"]["responses"][response["$ref"].rpartition("/")[2]]
            examples = response.get("content", {}).get("application/json", {}).get("examples", {})
            for example in examples.values():
                body = json.dumps(example["value"]).encode()
                n_status = 500 if status == "default" else int(status)
                assert_response_matches(operation["operationId"], n_status, body)
                n_examples += 1
    assert n_examples >= 10


def test_defaults_and_examples_of_fields_fit_their_schemas() -> None:
    for schema in schemas(document()["components"]["schemas"]):
        test = jsonschema_rs.Draft202012Validator({**schema, "components": document()["components"]})
        for value in [*schema.get("examples", []), *([schema["default"]] if "default" in schema else [])]:
            test.validate(value)


def schemas(node: Any) -> Iterator[dict[str, Any]]:
    """Every mapping with a type or a reference, which is every schema."""
    if isinstance(node, dict):
        if isinstance(node.get("type"), str | list) or "$ref" in node:
            yield node
        for child in node.values():
            yield from schemas(child)
    elif isinstance(node, list):
        for child in node:
            yield from schemas(child)


def test_every_operation_is_explained() -> None:
    tags = {tag["name"] for tag in document()["tags"]}
    for path, method, _, operation in operations():
        assert operation["summary"], (method, path)
        assert len(operation["description"]) > 15, (method, path)
        assert set(operation["tags"]) <= tags, (method, path)
        assert "default" in operation["responses"], (method, path)
        given = [*document()["paths"][path].get("parameters", []), *operation.get("parameters", [])]
        parameters = [resolved("parameters", parameter) for parameter in given]
        assert all(len(parameter["description"]) > 10 for parameter in parameters), (method, path)
        in_path = {parameter["name"] for parameter in parameters if parameter["in"] == "path"}
        assert in_path == set(re.findall(r"\{(\w+)\}", path)), (method, path)


def test_every_request_field_is_explained() -> None:
    bodies = [
        media["schema"]
        for *_, operation in operations()
        for media in operation.get("requestBody", {}).get("content", {}).values()
    ]
    assert len(bodies) > 30
    for body in bodies:
        for field, schema in fields(body):
            description = schema.get("description") or resolved("schemas", schema).get("description", "")
            assert len(description) > 8, (body, field)


def resolved(kind: str, node: dict[str, Any]) -> dict[str, Any]:
    """The component that a reference means, or the node itself."""
    name = node.get("$ref", "").rpartition("/")[2]
    found: dict[str, Any] = document()["components"][kind][name] if name else node
    return found


def fields(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The fields of a body, those of what it is made of included."""
    yield from schema.get("properties", {}).items()
    for part in (*schema.get("allOf", ()), *([resolved("schemas", schema)] if "$ref" in schema else ())):
        yield from fields(part)


def test_objects_are_closed() -> None:
    open_ones = {"chat_template_kwargs", "models"}
    for name, schema in document()["components"]["schemas"].items():
        for field, part in [(name, schema), *schema.get("properties", {}).items()]:
            types = part.get("type", [])
            is_object = "object" in ([types] if isinstance(types, str) else types)
            if is_object and "anyOf" not in part and field not in open_ones:
                assert "additionalProperties" in part, (name, field)


def test_the_explainer_knows_every_keyword() -> None:
    known = [
        "type",
        "enum",
        "const",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "minLength",
        "maxLength",
        "pattern",
        "minItems",
        "maxItems",
        "items",
        "properties",
        "required",
        "additionalProperties",
        "propertyNames",
        "maxProperties",
        "anyOf",
        "allOf",
        "$ref",
        "discriminator",
        "dependentSchemas",
        "description",
        "default",
        "deprecated",
        "examples",
        "format",  # of files in forms, which the explainer never sees
    ]
    for schema in schemas(document()["components"]["schemas"]):
        unknown = {key for key in schema if not key.startswith("x-llmatic-")} - set(known)
        assert not unknown, schema


WORDS = ["", "a", "text", "user", "assistant", "tool", "auto", "json_object", "7", "a b", "x" * 70]
KINDS = ["function", "custom", "allowed_tools", "json_schema", "image_url", "input_audio", "refusal", "file"]
SCALARS: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 130),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(WORDS + KINDS),
)
KEYS = st.sampled_from(
    [
        *("role", "content", "name", "type", "text", "include_usage", "7", "a", "k" * 65, "id", "index"),
        *("function", "arguments", "parameters", "strict", "json_schema", "schema", "allowed_tools", "tools"),
        *("mode", "image_url", "url", "input_audio", "data", "format", "refusal", "syntax", "definition"),
    ]
)
JSON: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=8,
)
ROLES = st.sampled_from(["user", "assistant", "system", "tool"])
MESSAGES = st.lists(
    st.dictionaries(
        st.sampled_from(["role", "content", "name", "refusal", "tool_calls", "function_call"]), JSON
    )
    | st.fixed_dictionaries({"role": ROLES, "content": JSON}),
    max_size=3,
)


def bodies(name: str) -> st.SearchStrategy[dict[str, Any]]:
    """Bodies that are right but for a few fields of any kind."""
    fields = sorted(document()["components"]["schemas"][name]["properties"])
    start: dict[str, Any] = {"model": "m"}
    if name.startswith("Chat"):
        start["messages"] = [HELLO]
    elif name.startswith("Embedding"):
        start["input"] = ["a"]
    elif name == "ResponseParameters":
        start["input"] = [HELLO, {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"}]
    elif name == "EditParameters":
        start["instruction"] = "a"
    elif name == "CreateAnswerRequest":
        start |= {"question": "a", "examples": [["a", "b"]], "examples_context": ""}
    elif name == "CreateClassificationRequest":
        start |= {"query": "a", "examples": [["a", "b"], ["c", "d"]]}
    some = st.dictionaries(st.sampled_from([*fields, "foo"]), JSON, max_size=3)
    talk = st.fixed_dictionaries({}, optional={"messages": MESSAGES} if name.startswith("Chat") else {})
    return st.builds(lambda a, b: start | a | b, some, talk)


def outcome(contract: Contract, operation: str, body: dict[str, Any]) -> dict[str, Any] | InvalidRequest:
    try:
        return contract.check(operation, body)
    except InvalidRequest as error:
        return error


@pytest.mark.parametrize(
    ("operation", "name"),
    [
        ("createCompletion", "CompletionParameters"),
        ("createChatCompletion", "ChatCompletionParameters"),
        ("createEmbedding", "EmbeddingParameters"),
        ("createEdit", "EditParameters"),
        ("createResponse", "ResponseParameters"),
        ("createAnswer", "CreateAnswerRequest"),
        ("createClassification", "CreateClassificationRequest"),
    ],
)
def test_every_refused_body_is_explained(contract: Contract, operation: str, name: str) -> None:
    @settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(bodies(name))
    def holds(body: dict[str, Any]) -> None:
        found = outcome(contract, operation, body)
        if isinstance(found, InvalidRequest):
            assert FALLBACK not in found.message
            assert len(found.message) < 600
        else:
            assert contract.check(operation, found) == found

    holds()


def test_a_recorded_chunk_fits_and_one_with_more_does_not() -> None:
    first = {
        "index": 0,
        "delta": {"role": "assistant", "content": "", "refusal": None},
        "finish_reason": None,
    }
    chunk = {
        "id": "chatcmpl-C4Hq5a6K3RaPMymUv70btQNYv6SvY",
        "object": "chat.completion.chunk",
        "created": 1755137921,
        "model": "m",
        "service_tier": "default",
        "system_fingerprint": None,
        "choices": [first],
        "usage": None,
        "obfuscation": "WuQNX",
    }
    assert_chunk_matches("chat", chunk)
    with pytest.raises(jsonschema_rs.ValidationError):
        assert_chunk_matches("chat", chunk | {"extra": 1})


def test_descriptions_name_what_is_refused() -> None:
    for field, schema in document()["components"]["schemas"]["ChatCompletionParameters"][
        "properties"
    ].items():
        reason = schema.get("x-llmatic-refused")
        assert reason is None or re.fullmatch(r"[A-Z].{10,}\.", reason), field
