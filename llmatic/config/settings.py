"""Settings: what `config.yaml` and the environment say, checked and frozen.

Owns the names, units and defaults. Never reads a file or the environment: `loader` does. Any thread.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

TEXT: Final = "{text}"
VERDICT: Final = "{verdict}"
LISTED: Final = "{categories}"


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """The `server:` section. Times in seconds, sizes in bytes.

    `share_prompt_cache`: what was computed of a prompt under one API key is reused under every other.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    allowed_hosts: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    max_body_bytes: int = 16 * 1024 * 1024
    max_json_depth: int = 64
    unknown_fields: Literal["refuse", "ignore"] = "refuse"
    drain_timeout_s: float = 30.0
    sse_keep_alive_s: float = 10.0
    api_keys: tuple[str, ...] = ()
    share_prompt_cache: bool = False
    log_level: str = "info"


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """The `workers:` section: how model processes are started and watched."""

    load_timeout_s: float = 600.0
    step_timeout_s: float = 120.0
    stop_timeout_s: float = 15.0
    restart_backoff_s: float = 0.5
    restart_backoff_max_s: float = 30.0


@dataclass(frozen=True, slots=True)
class MediaSettings:
    """The `media:` section: pictures and sounds in requests. Times in seconds, sizes in bytes.

    `hosts`: from where pictures are downloaded: `example.org`, `*.example.org`, `example.org:8080`, or `*`.
    `max_bytes` and `timeout_s` are those of one item. `allow_private`: hosts may be of this machine or of a
    private network.
    """

    hosts: tuple[str, ...] = ()
    max_bytes: int = 20 * 1024 * 1024
    max_items: int = 32
    timeout_s: float = 10.0
    allow_private: bool = False


@dataclass(frozen=True, slots=True)
class AdapterSpec:
    """A LoRA adapter that a model is run with: a path, builtin:NAME or hf:org/repo/file, and its factor."""

    path: str
    scale: float = 1.0


@dataclass(frozen=True, slots=True)
class ModerationSpec:
    """How a model moderates. Thresholds are from 0 to 1; a category is flagged from its threshold on.

    `categories`: a label of the model → the categories that it counts for, perhaps none. Of a guard, a chat
    model that writes a verdict: `safe` and `unsafe` are the verdict's words; `answer` is its form, in which
    `{verdict}` stands for one of them and `{categories}`, at the end, for labels with `separator` between
    them, which follow an unsafe verdict only. `prompt` is what it is asked, with `{text}` for the text.
    `prompts` is in place of it and of `categories`: a category → what is asked about that category alone.
    """

    categories: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    threshold: float = 0.5
    thresholds: Mapping[str, float] = field(default_factory=dict)
    safe: tuple[str, ...] = ("safe",)
    unsafe: tuple[str, ...] = ("unsafe",)
    answer: str = f"{VERDICT}\n{LISTED}"
    separator: str = ","
    prompt: str = TEXT
    prompts: Mapping[str, str] = field(default_factory=dict)
    template_kwargs: Mapping[str, Any] = field(default_factory=dict)

    def threshold_of(self, category: str) -> float:
        """From which score on `category` is flagged."""
        return self.thresholds.get(category, self.threshold)


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One entry of `models:`. `context` counts tokens over all parallel sequences together.

    `base` set: the entry has no file and no worker of its own (`source` is empty). It is the model of that
    id with further `adapters` and other `sampling`, and the worker of that model serves it. `draft`: the id
    of a model whose file drafts for this one; `draft_source` is that model's `source`, filled in by the pool
    for the worker, which knows no other model. `deterministic`: the text of an answer does not depend on
    what else is computed at the time. `chat_format`: the family by whose rules answers are read, where the
    chat template does not tell. `projector`: the file that makes the model see or hear, named as `source` is.
    `optional`: the entry is left out, and not a mistake, where something that it needs is not installed.
    `moderation`: the model judges texts, and how.

    None means "the engine's choice". `sampling` holds defaults for absent request fields, under
    the request's own names (temperature, top_p, top_k, min_p, repetition_penalty, max_tokens, …).
    `keep_alive_s` None: never unloaded. `options` is passed to the engine untouched; the engine refuses
    what it does not know.
    """

    id: str
    source: str
    engine: str = "llama"
    aliases: tuple[str, ...] = ()
    context: int | None = None
    parallel: int = 8
    threads: int | None = None
    gpu_layers: int | None = None
    chat_template: str | None = None
    sampling: Mapping[str, Any] = field(default_factory=dict)
    preload: bool = False
    keep_alive_s: float | None = None
    max_queue: int = 256
    max_queue_tokens: int = 1_000_000
    options: Mapping[str, Any] = field(default_factory=dict)
    base: str | None = None
    adapters: tuple[AdapterSpec, ...] = ()
    draft: str | None = None
    draft_source: str | None = None
    deterministic: bool = False
    chat_format: str | None = None
    projector: str | None = None
    optional: bool = False
    moderation: ModerationSpec | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that the composition root needs."""

    server: ServerSettings = field(default_factory=ServerSettings)
    workers: WorkerSettings = field(default_factory=WorkerSettings)
    media: MediaSettings = field(default_factory=MediaSettings)
    models: Mapping[str, ModelSpec] = field(default_factory=dict)
