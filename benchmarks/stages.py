"""Where the time of a call goes: passes and functions, each without what it calls of the others."""

from __future__ import annotations

import contextlib
import functools
import sys
import time
from types import FunctionType
from typing import Any, Callable, Collection, Dict, Iterator, List
from unittest import mock

import tvm


class Stages:
    """Adds up the seconds of nested stages, each by its name and without its inner ones."""

    def __init__(self) -> None:
        self.seconds: Dict[str, float] = {}
        self.entered: Dict[str, int] = {}
        self._open: List[str] = []
        self._since = 0.0

    def enter(self, name: str) -> None:
        self._account()
        self._open.append(name)
        self.entered[name] = self.entered.get(name, 0) + 1
        self._since = time.perf_counter()

    def leave(self) -> None:
        self._account()
        self._open.pop()
        self._since = time.perf_counter()

    def innermost(self) -> str:
        """The stage that is open, looking through those that only hold others together."""
        return next((name for name in reversed(self._open) if name != "sequential"), "")

    def _account(self) -> None:
        if self._open:
            name = self._open[-1]
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - self._since

    def wrap(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, as a stage."""

        @functools.wraps(function)
        def staged(*args: Any, **kwargs: Any) -> Any:
            self.enter(name)
            try:
                return function(*args, **kwargs)
            finally:
                self.leave()

        return staged

    @contextlib.contextmanager
    def of_passes(self) -> Iterator[None]:
        """Make every pass that runs within the block a stage.

        TVM's PassTimingInstrument cannot do it: partitioning enters a PassContext of its own, which does not
        inherit the instruments of the outer one, and the result is text. So every context made in the block gets
        this one.
        """
        stages = self

        @tvm.instrument.pass_instrument
        class EnterAndLeave:
            def run_before_pass(self, mod: Any, info: Any) -> None:
                # Type inference is most of the work, and is asked for by nearly every pass: say by which.
                asked_by = f", for {stages.innermost()}" if info.name == "InferType" else ""
                stages.enter(f"{info.name}{asked_by}")

            def run_after_pass(self, mod: Any, info: Any) -> None:
                stages.leave()

        instrument = EnterAndLeave()
        original = tvm.transform.PassContext.__init__

        def init(self: Any, *args: Any, **kwargs: Any) -> None:
            kwargs["instruments"] = [*(kwargs.get("instruments") or []), instrument]
            original(self, *args, **kwargs)

        with mock.patch.object(tvm.transform.PassContext, "__init__", init):
            yield

    @contextlib.contextmanager
    def of_functions(self, package: str, names: Collection[str]) -> Iterator[None]:
        """Make functions of the package that have been imported stages within the block, wherever it calls them."""
        modules = [module for name, module in sys.modules.items() if name.startswith(package)]
        with contextlib.ExitStack() as stack:
            for module in modules:
                for name, value in list(vars(module).items()):
                    if name in names and isinstance(value, FunctionType):
                        stack.enter_context(mock.patch.object(module, name, self.wrap(f"{name}()", value)))
            yield
