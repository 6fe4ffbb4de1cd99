import json

import jsonschema_rs
import pytest

from llmatic.engines.constraints.schemas import prepare
from llmatic.engines.constraints.subject import response_format
from tests.engines.constraints.schema_maker import FORMATS, SchemaMaker
from tests.engines.constraints.walking import Walker, read

N_PER_BATCH = 20


@pytest.mark.parametrize("is_strict", [True, False])
@pytest.mark.parametrize("batch", range(10))
def test_every_finished_answer_of_random_schemas_parses_and_validates(
    walker: Walker, batch: int, is_strict: bool
) -> None:
    for seed in range(batch * N_PER_BATCH, (batch + 1) * N_PER_BATCH):
        schema = SchemaMaker(seed, is_strict=is_strict).schema()
        compiled = walker.compile("json_schema", json.dumps(schema), is_strict=is_strict)
        validator = jsonschema_rs.Draft202012Validator(schema, validate_formats=True)
        for walk in range(3):
            answer = walker.walk(compiled, seed * 10 + walk)
            assert answer is not None, (seed, schema)
            value = read(answer)
            assert validator.is_valid(value), (seed, schema, answer)


def test_the_random_schemas_cover_what_openai_documents() -> None:
    texts = "".join(json.dumps(SchemaMaker(seed, is_strict=True).schema()) for seed in range(200))
    for keyword in (
        "enum",
        "anyOf",
        "$ref",
        "$defs",
        "pattern",
        "format",
        "minLength",
        "maxLength",
        "minItems",
    ):
        assert f'"{keyword}"' in texts
    for keyword in ("maxItems", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"):
        assert f'"{keyword}"' in texts
    assert all(f'"{name}"' in texts for name in FORMATS)
    wide = "".join(json.dumps(SchemaMaker(seed, is_strict=False).schema()) for seed in range(200))
    for keyword in (
        "const",
        "prefixItems",
        "oneOf",
        "allOf",
        "patternProperties",
        "propertyNames",
        "maxProperties",
    ):
        assert f'"{keyword}"' in wide


def test_preparing_is_the_same_every_time() -> None:
    for seed in range(50):
        schema = SchemaMaker(seed, is_strict=False).schema()
        about = response_format("test", "response_format")
        assert prepare(schema, about) == prepare(json.loads(json.dumps(schema)), about)
