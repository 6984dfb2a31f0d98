"""Benchmarks; a package, so that each sees the others."""

import virnucpro  # noqa: F401 - before torch, which reads what it sets
