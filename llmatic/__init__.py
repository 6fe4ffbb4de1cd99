"""llmatic: a self-hosted OpenAI."""

__version__ = "0.1.0"
