"""Configuration: `config.yaml` and `LLMATIC_…` variables in, frozen `Settings` out."""

from llmatic.config.loader import load_settings
from llmatic.config.settings import (
    AdapterSpec,
    MediaSettings,
    ModelSpec,
    ModerationSpec,
    ServerSettings,
    Settings,
    WorkerSettings,
)

__all__ = [
    "AdapterSpec",
    "MediaSettings",
    "ModelSpec",
    "ModerationSpec",
    "ServerSettings",
    "Settings",
    "WorkerSettings",
    "load_settings",
]
