"""Operators that read or write at indices."""

from __future__ import annotations
