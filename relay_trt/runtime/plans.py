"""Where an engine comes from: the library itself, the cache, or a build."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any, Mapping, Optional, Sequence, Tuple, Type

from .cache import PlanCache
from .engines import BuildRequest, Engine, EngineError
from .plan_key import PlanKey
from .settings import Settings

logger = logging.getLogger("TensorRT")


@dataclasses.dataclass(frozen=True)
class CompiledPlan:
    """A plan that was built when the library was compiled.

    Attributes
    ----------
    facts : dict of str to JSON values
        What it was built from and for, as in its key.
    plan : bytes-like
        The serialized engine.
    """

    facts: Mapping[str, Any]
    plan: Any


def plan_key(engine_class: Type[Engine], request: BuildRequest) -> PlanKey:
    """What a plan is found by."""
    return PlanKey(request.graph.symbol, {**engine_class.facts(request), **request.facts()})


def open_cache(settings: Settings) -> Optional[PlanCache]:
    """The cache that ``TVM_TENSORRT_CACHE_DIR`` asks for; None without one, or where it cannot be used."""
    return PlanCache.open(settings.cache_dir, settings.cache_size) if settings.cache_dir else None


def obtain(engine_class: Type[Engine], request: BuildRequest, compiled: Sequence[CompiledPlan] = ()) -> Engine:
    """An engine: one that was compiled into the library, else one of the cache, else a new one.

    Parameters
    ----------
    engine_class : type
        The kind of engine.
    request : BuildRequest
        What it must be; a new one is written to the request's cache.
    compiled : sequence of CompiledPlan
        The plans in the library.

    Raises
    ------
    EngineError, ConversionError
        Where the engine must be built and cannot be.
    """
    if request.calibration is not None and request.calibration.table is None:
        built = engine_class.build(request)
        if request.cache is not None:
            # The key is known only now: the table is part of it.
            request.cache.store(plan_key(engine_class, request), built.serialize())
        return built
    key = plan_key(engine_class, request)
    for plan in compiled:
        if not key.differences(plan.facts):
            try:
                return engine_class.load(request, plan.plan)
            except EngineError as error:
                logger.warning("%s: the engine in the library is of no use: %s", key.symbol, error)
    if compiled:
        reasons = sorted((key.differences(plan.facts) for plan in compiled), key=len)
        logger.warning("%s: none of the engines in the library fits: %s", key.symbol, reasons[0] or "it is damaged")
    return _cached_or_built(engine_class, request, key)


def _cached_or_built(engine_class: Type[Engine], request: BuildRequest, key: PlanKey) -> Engine:
    cache = request.cache
    if cache is None:
        return engine_class.build(request)
    found, _ = _cached(engine_class, request, cache, key)
    if found is not None:
        return found
    with cache.building(key):
        # Another process may have built it while this one waited for the lock.
        found, error = _cached(engine_class, request, cache, key, again=True)
        if found is not None:
            return found
        built = engine_class.build(request)  # where that fails too, as without memory, the plan may be good: it stays
        if error is not None:
            cache.discard(key, str(error))
        cache.store(key, built.serialize())
        return built


def _cached(
    engine_class: Type[Engine], request: BuildRequest, cache: PlanCache, key: PlanKey, again: bool = False
) -> Tuple[Optional[Engine], Optional[EngineError]]:
    """The engine of the cache's plan, or why the plan that is there is of no use; neither where there is none."""
    plan = cache.load(key, again)
    if plan is None:
        return None, None
    try:
        return engine_class.load(request, plan), None
    except EngineError as error:
        return None, error
