"""Models that build upon another: `base`, `adapters`, `draft`, and one sentence for every mistake in them."""

from pathlib import Path

import pytest

from llmatic.config import AdapterSpec, ModelSpec, Settings
from tests.config.test_loader import load, refusal

PAIR = """\
models:
  base:
    source: base.gguf
    sampling: {temperature: 0, top_k: 5}
  legal:
    base: base
    aliases: [law]
    adapters: [legal.gguf, {path: sub/tone.gguf, scale: 0.5}, "builtin:x", {path: hf:org/repo/a.gguf, scale: -1}]
    sampling: {temperature: 0.2}
"""


def models(tmp_path: Path, text: str) -> dict[str, ModelSpec]:
    return dict(load(tmp_path, text).models)


def test_an_entry_with_a_base(tmp_path: Path) -> None:
    assert models(tmp_path, PAIR)["legal"] == ModelSpec(
        id="legal",
        source="",
        base="base",
        aliases=("law",),
        adapters=(
            AdapterSpec(f"{tmp_path}/legal.gguf"),
            AdapterSpec(f"{tmp_path}/sub/tone.gguf", 0.5),
            AdapterSpec("builtin:x"),
            AdapterSpec("hf:org/repo/a.gguf", -1),
        ),
        sampling={"temperature": 0.2, "top_k": 5},
    )


def test_a_base_may_stand_below_and_be_of_another_engine(tmp_path: Path) -> None:
    text = "models:\n  a: {base: b, adapters: [x.gguf]}\n  b: {source: y, engine: fake}\n"
    assert models(tmp_path, text)["a"].engine == "fake"


def test_adapters_of_the_base_are_kept_and_can_be_scaled_anew(tmp_path: Path) -> None:
    text = (
        "models:\n  b: {source: b, adapters: [/x, {path: /y, scale: 2}]}\n"
        "  d: {base: b, adapters: [/z, {path: /x, scale: 3}]}\n"
    )
    found = models(tmp_path, text)
    assert found["b"].adapters == (AdapterSpec("/x"), AdapterSpec("/y", 2))
    assert found["d"].adapters == (AdapterSpec("/x", 3), AdapterSpec("/y", 2), AdapterSpec("/z"))


def test_a_base_with_other_sampling_alone(tmp_path: Path) -> None:
    text = "models:\n  b: {source: b}\n  precise: {base: b, sampling: {temperature: 0}}\n"
    found = models(tmp_path, text)["precise"]
    assert (found.adapters, found.sampling) == ((), {"temperature": 0})


def test_a_draft(tmp_path: Path) -> None:
    text = "models:\n  big: {source: b, draft: small, deterministic: true}\n  small: {source: s}\n"
    found = models(tmp_path, text)
    assert (found["big"].draft, found["big"].deterministic) == ("small", True)
    assert found["small"] == ModelSpec("small", f"{tmp_path}/s")


def test_variables(tmp_path: Path) -> None:
    text = "models:\n  b: {source: b}\n  d: {base: x}\n"
    settings = load(
        tmp_path,
        text,
        LLMATIC_MODELS__D__BASE="b",
        LLMATIC_MODELS__D__ADAPTERS="[/x, {path: /y, scale: 2}]",
        LLMATIC_MODELS__B__ADAPTERS="/v,/w",
        LLMATIC_SERVER__SHARE_PROMPT_CACHE="true",
    )
    assert settings.models["b"].adapters == (AdapterSpec("/v"), AdapterSpec("/w"))
    assert settings.models["d"].adapters[2:] == (AdapterSpec("/x"), AdapterSpec("/y", 2))
    assert settings.server.share_prompt_cache


def test_prompts_are_private_unless_said_otherwise() -> None:
    assert not Settings().server.share_prompt_cache


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("{base: bsae}", "models.d.base: no model has the id 'bsae'; did you mean 'base'?"),
        ("{base: alias}", "models.d.base: no model has the id 'alias'; it is an alias of 'base'; write the id"),
        ("{base: d}", "models.d.base is the model itself"),
        ("{base: derived}", "models.d.base: 'derived' has a base itself; name that one, 'base', "
         "and list all adapters here"),
        ("{base: base, source: x}", "models.d has a base, whose 'source' it shares; "
         "only adapters, aliases, base, moderation, sampling may stand here"),
        ("{base: base, preload: false}", "models.d has a base, whose 'preload' it shares; "
         "only adapters, aliases, base, moderation, sampling may stand here"),
        ("{base: base, chat_template: chatml}", "models.d has a base, whose 'chat_template' it shares; "
         "only adapters, aliases, base, moderation, sampling may stand here"),
        ("{base: base, draft: other}", "models.d has a base, whose 'draft' it shares; "
         "only adapters, aliases, base, moderation, sampling may stand here"),
        ("{base: base, bases: x}", "unknown key 'bases' under models.d; did you mean 'base'?"),
        ("{base: 3}", "models.d.base must be text, not the number 3 (put it in quotes)"),
        ("{adapters: [x]}", "models.d needs 'source:', a path, builtin:NAME or hf:org/repo/file, "
         "or 'base:', a model"),
        ("{base: base, adapters: x}", "models.d.adapters must be a list of adapters, not the text 'x'"),
        ("{base: base, adapters: [1]}", "every entry of models.d.adapters must be text, not the number 1 "
         "(put it in quotes)"),
        ("{base: base, adapters: [{scale: 1}]}", "every entry of models.d.adapters needs 'path:', a path, "
         "builtin:NAME or hf:org/repo/file"),
        ("{base: base, adapters: [{path: x, scael: 1}]}", "unknown key 'scael' under every entry of "
         "models.d.adapters; did you mean 'scale'?"),
        ("{base: base, adapters: [{path: x, scale: 101}]}", "every entry of models.d.adapters.scale must be "
         "a number from -100 to 100, not the number 101"),
        ("{base: base, adapters: [x, {path: x}]}", "models.d.adapters: the adapter 'x' is there twice"),
        ("{source: x, draft: othr}", "models.d.draft: no model has the id 'othr'; did you mean 'other'?"),
        ("{source: x, draft: d}", "models.d.draft is the model itself, which would make nothing faster; "
         "name a smaller one"),
        ("{source: x, draft: derived}", "models.d.draft: 'derived' has no 'source:' of its own; "
         "name its base, 'base'"),
        ("{source: x, draft: plugin}", "models.d.draft: drafting needs the engine llama, "
         "and 'plugin' is run by 'fake'"),
        ("{source: x, draft: other, engine: fake}", "models.d.draft: drafting needs the engine llama, "
         "and 'd' is run by 'fake'"),
        ("{source: x, deterministic: 1}", "models.d.deterministic must be true or false, not the number 1"),
    ],
)  # fmt: skip
def test_mistakes(tmp_path: Path, entry: str, message: str) -> None:
    rest = (
        "  base: {source: x, aliases: [alias]}\n  derived: {base: base}\n"
        "  other: {source: y}\n  plugin: {source: z, engine: fake}\n"
    )
    assert refusal(tmp_path, f"models:\n  d: {entry}\n{rest}") == "config.yaml:2: " + message
