"""Every key of the configuration: its name, the attribute it fills, and what may stand there.

Owns the tables and the walk over one section. Never decides where a value comes from. Any thread.
"""

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any
from urllib.parse import urlsplit

from llmatic.config import readers
from llmatic.config.readers import Field
from llmatic.config.settings import AdapterSpec, ModerationSpec
from llmatic.config.tree import Items, Node, Scalar, Table, describe, fail, is_null
from llmatic.core.limits import NAMES, RANGES, Limits

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@+/-]{0,199}\Z")
_ENGINE = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*(:[A-Za-z_][A-Za-z0-9_.]*)?\Z")
_HOST = re.compile(
    r"(\*|(\*\.)?[a-z0-9_]([a-z0-9._-]*[a-z0-9])?(:[0-9]{1,5})?|\[[0-9a-f:.]+\](:[0-9]{1,5})?)\Z"
)
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_ORIGIN = re.compile(r"(\*|null|[a-z][a-z0-9+.-]*://[^/\s]+)\Z")


def id_problem(name: str) -> str | None:
    """What is wrong with a model's id or alias; None if nothing is."""
    if not _ID.match(name):
        return (
            "is no model name: use letters, digits and . _ : @ + / -, "
            "beginning with a letter or digit, at most 200 characters"
        )
    if any(part in ("", ".", "..") for part in name.split("/")):
        return "is no model name: the parts between slashes may not be empty, '.' or '..'"
    return None


def _key_problem(key: str) -> str | None:
    if len(key) < 8 or not key.isascii() or not key.isprintable() or " " in key:
        return "every entry of server.api_keys must be at least 8 visible ASCII characters"
    return None


def _origin_problem(origin: str) -> str | None:
    return None if _ORIGIN.match(origin) else "is no origin: write it like https://example.org, or *"


def _host_problem(host: str) -> str | None:
    return None if _HOST.match(host) else "is no host: write it like example.org, *.example.org or *"


def _engine(node: Node, name: str) -> str:
    value = readers.text(node, name)
    if not _ENGINE.match(value):
        fail(node.at, f"{name} must be an engine's name or package.module:Class, not '{value}'")
    return value


def _secret(node: Node, name: str) -> str:
    value = readers.text(node, name)
    if len(value.encode()) < 32:  # RFC 7518, section 3.2
        fail(node.at, f"{name} must have at least 32 bytes")
    return value


def _limits(node: Node, name: str) -> Limits:
    return Limits(**read_section(node, name, LIMITS_OF))


def _database(node: Node, name: str) -> str:
    value = readers.text(node, name)
    # Never quoted: it may hold a password.
    if not re.match(r"(sqlite|postgresql)(\+[a-z0-9_]+)?://", value):
        fail(node.at, f"{name} must be sqlite:///path or postgresql://user:password@host/database")
    return value


def _blob_place(node: Node, name: str) -> str:
    value = readers.text(node, name)
    if "://" in value and not re.match(r"s3://[^/]", value):
        fail(node.at, f"{name} must be a folder, s3://bucket or s3://bucket/prefix, not '{value}'")
    return value


def _key_set(node: Node, name: str) -> str:
    value = readers.text(node, name)
    if "://" in value and not is_safe_url(value):
        fail(node.at, f"{name} must be a file or an https:// address; http:// is for this machine only")
    return value


def is_safe_url(url: str) -> bool:
    """Whether what comes from there is what was sent: by https, or from this machine."""
    parts = urlsplit(url)
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)


def _sampling(node: Node, name: str) -> Mapping[str, Any]:
    return read_section(node, name, SAMPLING)


def _moderation(node: Node, name: str) -> ModerationSpec | None:
    from llmatic.config.moderation import read_moderation  # which reads its section as this module does

    return read_moderation(node, name)


def _adapters(node: Node, name: str) -> tuple[AdapterSpec, ...]:
    if not isinstance(node, Items):
        fail(node.at, f"{name} must be a list of adapters, not {describe(node)}")
    found: dict[str, AdapterSpec] = {}
    for item in node.items:
        adapter = _adapter(item, f"every entry of {name}")
        if adapter.path in found:
            fail(item.at, f"{name}: the adapter '{adapter.path}' is there twice")
        found[adapter.path] = adapter
    return tuple(found.values())


def _adapter(node: Node, name: str) -> AdapterSpec:
    if isinstance(node, Scalar):
        return AdapterSpec(readers.text(node, name))
    values = read_section(node, name, ADAPTER)
    if "path" not in values:
        fail(node.at, f"{name} needs 'path:', a path, builtin:NAME or hf:org/repo/file")
    return AdapterSpec(**values)


SERVER = {
    "host": Field("host", readers.text, "text"),
    "port": Field("port", readers.whole(0, 65535)),
    "allowed_hosts": Field("allowed_hosts", readers.texts(), "list"),
    "cors_origins": Field("cors_origins", readers.texts(_origin_problem), "list"),
    "max_body_bytes": Field("max_body_bytes", readers.size(1024)),
    "max_json_depth": Field("max_json_depth", readers.whole(4, 500)),
    "unknown_fields": Field("unknown_fields", readers.one_of("refuse", "ignore"), "text"),
    "drain_timeout_s": Field("drain_timeout_s", readers.duration(zero=True)),
    "sse_keep_alive_s": Field("sse_keep_alive_s", readers.duration(zero=False)),
    "api_keys": Field("api_keys", readers.texts(_key_problem, secret=True), "list"),
    "insecure": Field("insecure", readers.flag),
    "share_prompt_cache": Field("share_prompt_cache", readers.flag),
    "log_level": Field("log_level", readers.one_of("debug", "info", "warning", "error", "critical"), "text"),
}

WORKERS = {
    "load_timeout_s": Field("load_timeout_s", readers.duration(zero=False)),
    "step_timeout_s": Field("step_timeout_s", readers.duration(zero=False)),
    "stop_timeout_s": Field("stop_timeout_s", readers.duration(zero=True)),
    "restart_backoff_s": Field("restart_backoff_s", readers.duration(zero=True)),
    "restart_backoff_max_s": Field("restart_backoff_max_s", readers.duration(zero=True)),
}

MEDIA = {
    "hosts": Field("hosts", readers.texts(_host_problem), "list"),
    "max_bytes": Field("max_bytes", readers.size(1024)),
    "max_items": Field("max_items", readers.whole(1, 1000)),
    "timeout_s": Field("timeout_s", readers.duration(zero=False)),
    "allow_private": Field("allow_private", readers.flag),
}

STORE = {
    "folder": Field("folder", readers.text, "text"),
    "url": Field("url", _database, "text"),
    "blobs": Field("blobs", _blob_place, "text"),
    "max_file_bytes": Field("max_file_bytes", readers.size(1024)),
    "quota_bytes": Field("quota_bytes", readers.size(1024)),
    "response_days": Field("response_days", readers.whole(0, 36_500)),
    "max_conversation_items": Field("max_conversation_items", readers.whole(1, 1_000_000)),
}

AUTH = {
    "secret": Field("secret", _secret, "text"),
    "jwt_secret": Field("jwt_secret", _secret, "text"),
    "jwt_keys": Field("jwt_keys", _key_set, "text"),
    "jwt_issuer": Field("jwt_issuer", readers.text, "text"),
    "jwt_audience": Field("jwt_audience", readers.text, "text"),
    "jwt_owner_claim": Field("jwt_owner_claim", readers.text, "text"),
}

LIMITS_OF = {name: Field(name, readers.whole(*RANGES[name])) for name in NAMES}

LIMITS = {
    "keys": Field("keys", _limits),
    "tokens": Field("tokens", _limits),
    "anonymous": Field("anonymous", _limits),
}

BATCHES = {
    "max_lines": Field("max_lines", readers.whole(1, 1_000_000)),
    "max_file_bytes": Field("max_file_bytes", readers.size(1024)),
    "max_running": Field("max_running", readers.whole(1, 1000)),
    "lease_s": Field("lease_s", readers.duration(zero=False)),
}

RECORDING = {
    "enabled": Field("enabled", readers.flag),
    "owners": Field("owners", readers.texts(), "list"),
    "models": Field("models", readers.texts(id_problem), "list"),
    "share": Field("share", readers.real(0, 1)),
    "redact": Field("redact", readers.patterns, "list"),
    "mark": Field("mark", readers.text, "text"),
    "retention": Field("retention_s", readers.keep_alive),
    "max_bytes": Field("max_bytes", readers.size(1024)),
}

SAMPLING = {
    "temperature": Field("temperature", readers.real(0, 2)),
    "top_p": Field("top_p", readers.real(0, 1)),
    "top_k": Field("top_k", readers.whole(0)),
    "min_p": Field("min_p", readers.real(0, 1)),
    "presence_penalty": Field("presence_penalty", readers.real(-2, 2)),
    "frequency_penalty": Field("frequency_penalty", readers.real(-2, 2)),
    "repetition_penalty": Field("repetition_penalty", readers.real(0.01, 100)),
    "max_tokens": Field("max_tokens", readers.whole(1)),
    "min_tokens": Field("min_tokens", readers.whole(0)),
    "seed": Field("seed", readers.whole(-(2**63), 2**63 - 1)),
    "stop": Field("stop", readers.stop_texts),
}

ADAPTER = {
    "path": Field("path", readers.text, "text"),
    "scale": Field("scale", readers.real(-100, 100)),
}

MODEL = {
    "engine": Field("engine", _engine, "text"),
    "source": Field("source", readers.text, "text"),
    "aliases": Field("aliases", readers.texts(id_problem), "list"),
    "context": Field("context", readers.whole(1, 2**31 - 1)),
    "parallel": Field("parallel", readers.whole(1, 256)),
    "threads": Field("threads", readers.whole(1, 1024)),
    "gpu_layers": Field("gpu_layers", readers.whole(-1, 100_000)),
    "chat_template": Field("chat_template", readers.text, "text"),
    "chat_format": Field("chat_format", readers.text, "text"),
    "sampling": Field("sampling", _sampling),
    "preload": Field("preload", readers.flag),
    "keep_alive": Field("keep_alive_s", readers.keep_alive),
    "max_queue": Field("max_queue", readers.whole(1, 1_000_000)),
    "max_queue_tokens": Field("max_queue_tokens", readers.whole(1)),
    "options": Field("options", readers.mapping),
    "base": Field("base", readers.text, "text"),
    "adapters": Field("adapters", _adapters, "list"),
    "draft": Field("draft", readers.text, "text"),
    "deterministic": Field("deterministic", readers.flag),
    "projector": Field("projector", readers.text, "text"),
    "optional": Field("optional", readers.flag),
    "moderation": Field("moderation", _moderation),
}
# What an entry with a base may say.
DERIVED = frozenset({"base", "adapters", "aliases", "sampling", "moderation"})

SECTIONS = {
    "server": SERVER,
    "workers": WORKERS,
    "media": MEDIA,
    "store": STORE,
    "auth": AUTH,
    "limits": LIMITS,
    "batches": BATCHES,
    "recording": RECORDING,
}
TOP = (*SECTIONS, "models")


def nearest_name(wrong: str, valid: Iterable[str]) -> str | None:
    """The valid name that was probably meant, whatever its case and its hyphens; None if none is near."""
    normal = {name.lower().replace("-", "_"): name for name in sorted(valid)}
    meant = wrong.lower().replace("-", "_")
    longer = [name for name in normal if len(meant) > 2 and name.startswith(meant)]
    found = longer if len(longer) == 1 else get_close_matches(meant, normal, n=1)
    return normal[found[0]] if found else None


def nearest(wrong: str, valid: Iterable[str]) -> str:
    """The end of a refusal: the nearest valid name, or all of them."""
    names = sorted(valid)
    found = nearest_name(wrong, names)
    return f"did you mean '{found}'?" if found else "known: " + ", ".join(names)


def read_section(node: Node, name: str, fields: Mapping[str, Field]) -> dict[str, Any]:
    """Attribute → value for the keys that are there; a key without a value keeps its default."""
    if is_null(node):
        return {}
    if not isinstance(node, Table):
        fail(node.at, f"{name} must be a mapping, not {describe(node)}")
    found: dict[str, Any] = {}
    for key, value in node.values.items():
        field = fields.get(key)
        if field is None:
            fail(node.keys[key], f"unknown key '{key}' under {name}; {nearest(key, fields)}")
        if not is_null(value):
            found[field.attribute] = field.read(value, f"{name}.{key}")
    return found
