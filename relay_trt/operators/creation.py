"""Operators that make tensors."""

from __future__ import annotations
