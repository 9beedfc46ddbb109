"""Jurat: evidence, sworn and checked, from raw crawl to launch."""

from __future__ import annotations

__version__ = "0.1.0"
