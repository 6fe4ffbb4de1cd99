import pytest

from llmatic.core.errors import InvalidRequest
from llmatic.services.json_schemas import check_data, compiled_schema
from llmatic.services.prompt_template import check_prompts, render_prompts


def rendered(content: str, **data: object) -> str:
    text: str = render_prompts([{"role": "user", "content": content}], data)[0]["content"]
    return text


def test_variables_conditions_and_lists() -> None:
    content = "Вітаю, {{ name }}! {% if more is defined %}{{ more }}{% endif %}{% for x in data.xs %}[{{ x }}]{% endfor %}"
    assert rendered(content, name="Анно", xs=[1, "б"]) == "Вітаю, Анно! [1][б]"
    assert rendered("{{ x|default('d') }}") == "d"


def test_plain_texts_stay_as_they_are_and_empty_messages_go() -> None:
    prompts = [
        {"role": "system", "content": "{% if polite %}Be polite.{% endif %}"},
        {"role": "user", "content": "{{ name }}", "content_type": "text"},
    ]
    assert render_prompts(prompts, {"polite": False}) == [{"role": "user", "content": "{{ name }}"}]
    with pytest.raises(InvalidRequest, match="empty"):
        render_prompts(prompts[:1], {"polite": False})


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ("{{ who }}", "who"),
        ("{% for x in xs %}{% endfor %}", "xs"),
        ("{% if flag %}{% endif %}", "flag"),
        ("{{ given.inner }}", "inner"),
        ("{{ given.inner.deep }}", "inner"),
        ("{{ who|upper }}", "who"),
        ("{{ who + 'x' }}", "who"),
        ("{{ lipsum() }}", "lipsum"),
    ],
)
def test_the_missing_variable_is_named(content: str, name: str) -> None:
    with pytest.raises(InvalidRequest, match=f"'data.{name}'") as refused:
        rendered(content, given={})
    assert refused.value.param == f"data.{name}"


@pytest.mark.parametrize(
    "content",
    [
        "{{ 1 / 0 }}",
        "{{ ''.__class__.__mro__ }}",
        "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
        "{{ 'x' * 1000000000 }}",
        "{{ xs.append(1) }}",
        "{{ raise_exception('no') }}",
        "{% include 'other' %}",
    ],
)
def test_what_cannot_be_filled_in_is_the_callers_mistake(content: str) -> None:
    with pytest.raises(InvalidRequest, match="cannot be filled in"):
        rendered(content, xs=[])


@pytest.mark.parametrize("content", ["{{", "{% if %}", "a\n{% endfor %}", "{{ x|nofilter }}"])
def test_what_is_no_template_is_refused_when_it_is_written(content: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        check_prompts([{"role": "user", "content": "fine"}, {"role": "user", "content": content}])
    assert refused.value.param == "prompts[1].content"


def test_schemas_are_checked_and_never_fetched() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "array", "items": {"type": "string"}}}}
    check_data(schema, {"a": ["x"]})
    with pytest.raises(InvalidRequest, match=r"'data\.a\.1'"):
        check_data(schema, {"a": ["x", 1]})
    for bad in ({"type": "objekt"}, {"$ref": "http://127.0.0.1:9/x"}, {"$ref": "file:///etc/passwd"}):
        with pytest.raises(InvalidRequest, match="result_schema"):
            compiled_schema(bad, "result_schema")
