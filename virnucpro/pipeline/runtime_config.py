"""`RuntimeConfig` under the name users of the reference import."""

from virnucpro.embedding.runtime_config import RuntimeConfig

__all__ = ["RuntimeConfig"]
