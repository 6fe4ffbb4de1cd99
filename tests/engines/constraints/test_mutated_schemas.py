import json
from typing import Any

import jsonschema_rs
import pytest

from llmatic.core.errors import InvalidRequest
from llmatic.engines.constraints.grammars import function_schema, schema_rules
from tests.engines.constraints.schema_cases import CASES
from tests.engines.constraints.schema_maker import SchemaMaker
from tests.engines.constraints.schema_mutations import Mutator
from tests.engines.constraints.walking import Walker, read

# Where the meaning is not that of the newest draft: nullable, and formats that give way to patterns.
SEEDS = [
    schema for schema, _, _ in CASES.values() if "nullable" not in str(schema) and "format" not in str(schema)
]


def nothing(uri: str) -> Any:
    raise ValueError(uri)


@pytest.mark.parametrize("seed", range(8))
def test_whatever_is_sent_is_refused_or_enforced(walker: Walker, seed: int) -> None:
    mutator = Mutator(seed)
    n_enforced, params = 0, set()
    for number in range(250):
        base = SEEDS[number % len(SEEDS)] if number % 2 else SchemaMaker(number, is_strict=False).schema()
        schema = mutator.mutated(base)
        text = json.dumps(schema)
        try:
            compiled = walker.compile("json_schema", text)
        except InvalidRequest as error:
            params.add(error.param)
            continue
        if '"format"' in text and '"pattern"' in text:
            continue
        try:
            validator = jsonschema_rs.Draft202012Validator(schema, validate_formats=True, retriever=nothing)
        except (ValueError, jsonschema_rs.ValidationError):
            continue  # an older draft's form
        answer = walker.walk(compiled, number, n_free=12, n_most=250)
        if answer is not None:
            n_enforced += 1
            assert validator.is_valid(read(answer)), (text, answer)
    assert n_enforced > 20
    assert params == {"response_format"}


@pytest.mark.parametrize("is_strict", [True, False])
def test_whatever_a_function_has_for_parameters_is_refused_or_enforced(
    walker: Walker, is_strict: bool
) -> None:
    mutator = Mutator(100)
    for number in range(500):
        parameters = mutator.mutated(SchemaMaker(number, is_strict=is_strict).schema())
        definition = {"name": "f", "parameters": parameters, "strict": is_strict}
        try:
            compiled = walker.compile_rules(schema_rules(function_schema(definition, param="tools"), "v"))
        except InvalidRequest:
            continue
        answer = walker.walk(compiled, number, n_free=6, n_most=120)
        assert answer is None or isinstance(read(answer), dict)
