"""Cases of operators that make tensors."""

from __future__ import annotations

from typing import List

from .case import Case, Refused

CASES: List[Case] = []

REFUSED: List[Refused] = []
