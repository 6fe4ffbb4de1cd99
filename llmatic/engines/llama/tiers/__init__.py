"""Computed prompts outside the context: in RAM and on disk. Never calls llama.cpp."""

from llmatic.engines.llama.tiers.codec import Codec, SlicedCodec, WholeCodec
from llmatic.engines.llama.tiers.disk import DiskStore
from llmatic.engines.llama.tiers.layout import UnknownFormat
from llmatic.engines.llama.tiers.store import StateStore

__all__ = ["Codec", "DiskStore", "SlicedCodec", "StateStore", "UnknownFormat", "WholeCodec"]
