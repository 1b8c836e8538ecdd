"""What a plan was built from, and for: the key under which the plan cache keeps it."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from typing import Any, Dict, Mapping

_SHOWN = 60  # characters of a value in a message


@dataclasses.dataclass(frozen=True)
class PlanKey:
    """A subgraph and everything else that its plan depends on: two builds with equal keys may share one plan.

    Attributes
    ----------
    symbol : str
        The name of the subgraph.
    facts : dict of str to JSON values
        What the plan depends on, by readable names, as in ``{"tensorrt": "8.6.0", "gpu": "NVIDIA H200"}``. It is
        copied, as JSON would give it back: tuples become lists.

    Raises
    ------
    TypeError, ValueError
        Where a fact is no JSON value; the message names it.
    """

    symbol: str
    facts: Mapping[str, Any] = dataclasses.field(hash=False)  # dicts have no hash

    def __post_init__(self) -> None:
        facts: Dict[str, Any] = {}
        for name, value in self.facts.items():
            try:
                facts[name] = json.loads(_canonical(value))
            except (TypeError, ValueError) as error:
                raise type(error)(f"the fact {name!r} of a plan's key is {value!r}, no JSON value: {error}") from error
        object.__setattr__(self, "facts", facts)

    @functools.cached_property
    def digest(self) -> str:
        """The SHA-256 of symbol and facts in hexadecimal: 64 characters, the same on every machine."""
        return hashlib.sha256(_canonical({"symbol": self.symbol, "facts": self.facts}).encode()).hexdigest()

    def differences(self, facts: Mapping[str, Any]) -> str:
        """How other facts differ from the key's, for a message.

        Parameters
        ----------
        facts : dict of str to JSON values
            The facts of a plan that was found.

        Returns
        -------
        str
            As in ``"gpu is 'Orin', not 'NVIDIA H200'; tensorrt is '8.5', not '8.6'"``: what was found, and what the
            key has. Empty where there is no difference.
        """
        names = sorted({*self.facts, *facts})
        return "; ".join(
            f"{name} is {_shown(facts, name)}, not {_shown(self.facts, name)}"
            for name in names
            if (name in facts) != (name in self.facts) or _canonical(facts[name]) != _canonical(self.facts[name])
        )


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _shown(facts: Mapping[str, Any], name: str) -> str:
    if name not in facts:
        return "absent"
    shown = repr(facts[name])
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."
