"""Configuration: `config.yaml` and `LLMATIC_…` variables in, frozen `Settings` out."""

from llmatic.config.loader import load_settings
from llmatic.config.settings import (
    AdapterSpec,
    AuthSettings,
    BatchSettings,
    LimitSettings,
    MediaSettings,
    ModelSpec,
    ModerationSpec,
    RecordingSettings,
    ServerSettings,
    Settings,
    StoreSettings,
    WorkerSettings,
)

__all__ = [
    "AdapterSpec",
    "AuthSettings",
    "BatchSettings",
    "LimitSettings",
    "MediaSettings",
    "ModelSpec",
    "ModerationSpec",
    "RecordingSettings",
    "ServerSettings",
    "Settings",
    "StoreSettings",
    "WorkerSettings",
    "load_settings",
]
