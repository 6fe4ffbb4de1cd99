"""Whether what a model's entry needs is installed on this machine.

Owns the libraries that each built-in engine needs and what becomes of entries with `optional: true`. Looks
modules up and never imports one. Any thread.
"""

from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec

from llmatic.config import ModelSpec
from llmatic.sources import no_package

_MODULES = {"sentence": ("torch", "transformers", "sentence_transformers", "tokenizers")}
_EXTRAS = {"sentence": "llmatic[embeddings]"}


def missing(spec: ModelSpec) -> str | None:
    """What is not installed for this entry and what brings it, in a sentence; None if all is there."""
    absent = [name for name in _MODULES.get(spec.engine, ()) if find_spec(name) is None]
    if absent:
        return (
            f"Model '{spec.id}': its engine '{spec.engine}' needs {', '.join(absent)}; "
            f'pip install "{_EXTRAS[spec.engine]}" brings it.'
        )
    kind, _, rest = spec.source.partition(":")
    package = rest.partition("/")[0]
    if kind == "package" and package.isidentifier() and find_spec(package) is None:
        return no_package(spec.id, package)
    return None


def served(models: Mapping[str, ModelSpec]) -> tuple[dict[str, ModelSpec], dict[str, str]]:
    """(the models that are served, the ids that are left out → why).

    Left out is what is optional and lacks something, and every entry whose base is left out. A model whose
    draft is left out is served without it.
    """
    left_out = {spec.id: why for spec in models.values() if spec.optional and (why := missing(spec))}
    for spec in models.values():
        if spec.base in left_out:
            left_out[spec.id] = left_out[spec.base]
    kept = {key: spec for key, spec in models.items() if key not in left_out}
    for key, spec in kept.items():
        if spec.draft in left_out:
            kept[key] = replace(spec, draft=None)
    return kept, left_out
