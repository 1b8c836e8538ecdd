"""Operators along axes: sums, extremes, orders."""

from __future__ import annotations
