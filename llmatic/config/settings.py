"""Settings: what `config.yaml` and the environment say, checked and frozen.

Owns the names, units and defaults. Never reads a file or the environment: `loader` does. Any thread.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from llmatic.core.limits import UNLIMITED, Limits

TEXT: Final = "{text}"
VERDICT: Final = "{verdict}"
LISTED: Final = "{categories}"


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """The `server:` section. Times in seconds, sizes in bytes.

    `insecure`: others than this machine may be served though no key is asked for. `share_prompt_cache`: what
    was computed of a prompt under one API key is reused under every other.
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
    insecure: bool = False
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
class StoreSettings:
    """The `store:` section: what outlives the server. Sizes in bytes.

    `url`: sqlite:///path or postgresql://…; None: a SQLite file in `folder`. `blobs`: a folder, or
    s3://bucket/prefix; None: a folder in `folder`. `folder` None: llmatic below the user's data directory.
    `max_file_bytes`: of one file; `quota_bytes`: of all files of one owner together.
    `response_days`: how long responses are kept, 0 for ever. `max_conversation_items`: of one conversation,
    and of all that a response continues.
    """

    folder: str | None = None
    url: str | None = None
    blobs: str | None = None
    max_file_bytes: int = 512 * 1024 * 1024
    quota_bytes: int = 100 * 1024 * 1024 * 1024
    response_days: int = 30
    max_conversation_items: int = 10_000


@dataclass(frozen=True, slots=True)
class AuthSettings:
    """The `auth:` section: who is let in besides the holders of API keys.

    `secret`: what the digests of API keys are keyed with, the same on all servers of one database; None: a
    file in the store's folder, made when it is first needed. The rest is about JSON web tokens: either a
    shared secret (HS256), or a set of public keys (RS256, ES256) in a file or at an https URL.
    `jwt_owner_claim`: the claim that tells whose files, batches and runs the holder sees.
    """

    secret: str | None = None
    jwt_secret: str | None = None
    jwt_keys: str | None = None
    jwt_issuer: str | None = None
    jwt_audience: str | None = None
    jwt_owner_claim: str = "sub"


@dataclass(frozen=True, slots=True)
class LimitSettings:
    """The `limits:` section: what holds for callers that come without limits of their own.

    `keys`: the holders of API keys; `tokens`: those of JSON web tokens, each subject for itself; `anonymous`:
    all others together.
    """

    keys: Limits = UNLIMITED
    tokens: Limits = UNLIMITED
    anonymous: Limits = UNLIMITED


@dataclass(frozen=True, slots=True)
class BatchSettings:
    """The `batches:` section. `max_file_bytes`: of an input file.

    `max_running`: how many batches a server works on at a time. `lease_s`: how long a server that has died
    holds up the batches that it worked on.
    """

    max_lines: int = 50_000
    max_file_bytes: int = 200 * 1024 * 1024
    max_running: int = 64
    lease_s: float = 15.0


@dataclass(frozen=True, slots=True)
class RecordingSettings:
    """The `recording:` section: which requests are kept as runs without being asked to. Times in seconds.

    `owners`: owners or key ids whose requests are recorded; empty: everybody's. `models`: ids; empty: all.
    `share`: of the requests that fit, so many are recorded, 0 to 1. `redact`: RE2 patterns; what they match
    is replaced by `mark` in everything that is recorded. `retention_s`: how long any run is kept; None:
    forever. `max_bytes`: of one request with its reply; a larger one is recorded only if it says `store:
    true`.
    """

    enabled: bool = False
    owners: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    share: float = 1.0
    redact: tuple[str, ...] = ()
    mark: str = "<redacted>"
    retention_s: float | None = 30 * 86400.0
    max_bytes: int = 1024 * 1024


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
    store: StoreSettings = field(default_factory=StoreSettings)
    auth: AuthSettings = field(default_factory=AuthSettings)
    recording: RecordingSettings = field(default_factory=RecordingSettings)
    batches: BatchSettings = field(default_factory=BatchSettings)
    limits: LimitSettings = field(default_factory=LimitSettings)
    models: Mapping[str, ModelSpec] = field(default_factory=dict)
