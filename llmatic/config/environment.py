"""`LLMATIC_…` variables, laid over the tree of the file before it is read.

The rule: LLMATIC_<SECTION>__<KEY>, and LLMATIC_MODELS__<ID>__<KEY> where every character of the model's
id that is no letter or digit is written `_`; case does not matter. Owns that rule and the short names.
Never reads os.environ itself. An unknown LLMATIC_ variable is refused; an empty one counts as not set.
"""

import re
from collections.abc import Mapping
from typing import NoReturn

from llmatic.config.keys import MODEL, SAMPLING, SECTIONS, nearest, nearest_name
from llmatic.config.readers import Field
from llmatic.config.tree import At, Items, Node, Scalar, Table, fail, parse

PREFIX = "LLMATIC_"
SHORT = {
    "LLMATIC_HOST": "LLMATIC_SERVER__HOST",
    "LLMATIC_PORT": "LLMATIC_SERVER__PORT",
    "LLMATIC_API_KEYS": "LLMATIC_SERVER__API_KEYS",
    "LLMATIC_LOG_LEVEL": "LLMATIC_SERVER__LOG_LEVEL",
}
CONFIG_FILE = "LLMATIC_CONFIG"
CACHE_DIR = "LLMATIC_CACHE_DIR"
DATA_DIR = "LLMATIC_DATA_DIR"
# What others read (the cache's place, scripts, tests), and what Kubernetes sets for a service "llmatic".
_ELSEWHERE = re.compile(
    r"LLMATIC_(CONFIG|CACHE_DIR|DATA_DIR|EXTRAS|TEST_\w+|SERVICE_(HOST|PORT)\w*|PORT_[0-9]+_(TCP|UDP)\w*)\Z"
)


def overlay(root: Table, environ: Mapping[str, str]) -> None:
    """Write the variables' values into `root`, in place. Raises ConfigError naming the variable."""
    for variable in sorted(environ):
        raw = environ[variable]
        kubernetes = variable == "LLMATIC_PORT" and raw.startswith(("tcp://", "udp://"))
        ours = variable.startswith(PREFIX) and not _ELSEWHERE.match(variable) and not kubernetes
        if ours and raw.strip():
            _apply(root, variable, SHORT.get(variable, variable), raw)


def _apply(root: Table, variable: str, full: str, raw: str) -> None:
    at = At(f"environment variable {variable}")
    path = full.removeprefix(PREFIX).split("__")
    section = path[0].lower()
    if section in SECTIONS and len(path) == 2:
        fields, steps, keys = SECTIONS[section], [section], path[1:]
    elif section == "models" and len(path) >= 3 and isinstance(models := root.values.get("models"), Table):
        fields, steps, keys = MODEL, ["models", _model(models, path[1], at)], path[2:]
    else:
        _unknown(at, variable, root)
    if len(keys) == 2 and keys[0].lower() == "sampling" and fields is MODEL:
        fields, steps, keys = SAMPLING, [*steps, "sampling"], keys[1:]
    key = keys[0].lower()
    if len(keys) != 1 or key not in fields:
        _unknown(at, variable, root)
    table = root
    for step in steps:
        table = _child(table, step, at)
    table.values[key] = _node(fields[key], raw, at)
    table.keys[key] = at


def _node(field: Field, raw: str, at: At) -> Node:
    if field.form == "text":
        return Scalar(at, raw, "str")
    if field.form == "list" and not raw.lstrip().startswith("["):
        return Items(at, tuple(Scalar(at, part.strip(), "str") for part in raw.split(",") if part.strip()))
    return parse(raw, at) or Scalar(at, raw, "str")


def _child(table: Table, key: str, at: At) -> Table:
    child = table.values.get(key)
    if not isinstance(child, Table):
        if isinstance(child, Scalar) and child.kind != "null":
            fail(child.at, f"{key} must be a mapping")
        child = table.values[key] = Table(at, {}, {})
        table.keys.setdefault(key, at)
    return child


def _model(models: Table, wanted: str, at: At) -> str:
    found = [model_id for model_id in models.values if variable_name(model_id) == wanted.upper()]
    if len(found) == 1:
        return found[0]
    if found:
        fail(at, f"could mean any of the models {', '.join(found)}")
    return fail(at, f"no model is written '{wanted}'; {nearest(wanted, map(variable_name, models.values))}")


def variable_name(model_id: str) -> str:
    """How a model's id is written in the name of an environment variable."""
    return re.sub(r"[^A-Za-z0-9]", "_", model_id).upper()


def variables(root: Table) -> list[str]:
    """Every variable that means something with this configuration, sorted."""
    names = [*SHORT, CONFIG_FILE, CACHE_DIR, DATA_DIR]
    names += [f"{PREFIX}{section}__{key}".upper() for section, keys in SECTIONS.items() for key in keys]
    models = root.values.get("models")
    for model_id in models.values if isinstance(models, Table) else ():
        stem = f"{PREFIX}MODELS__{variable_name(model_id)}__"
        names += [stem + key.upper() for key in MODEL]
        names += [f"{stem}SAMPLING__{key.upper()}" for key in SAMPLING]
    return sorted(names)


def _unknown(at: At, variable: str, root: Table) -> NoReturn:
    stems = [name.removeprefix(PREFIX) for name in variables(root)]
    near = nearest_name(variable.removeprefix(PREFIX), stems)
    hint = f"did you mean '{PREFIX}{near}'?" if near else "docs/configuration.md lists the known ones"
    fail(at, f"means nothing; {hint}")
