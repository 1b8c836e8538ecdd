"""Cases of operators along axes: sums, extremes, orders."""

from __future__ import annotations

from typing import List

from .case import Case, Refused

CASES: List[Case] = []

REFUSED: List[Refused] = []
