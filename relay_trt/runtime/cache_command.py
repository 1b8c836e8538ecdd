"""``relay-trt-cache``: shows, checks and empties a plan cache."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from typing import Any, List, Mapping, Optional, Sequence

from .cache import CacheEntry, PlanCache

VARIABLE = "TVM_TENSORRT_CACHE_DIR"
DAY = 24 * 3600
WIDTH = 40  # characters of the widest column
HEADINGS = ("symbol", "engine", "GPU", "precision", "shapes", "size", "last used")


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command.

    Parameters
    ----------
    argv : sequence of str, optional
        Its arguments; those of the process where none are given.

    Returns
    -------
    int
        The exit status: 0; 1 where ``verify`` finds damage; 2 where the directory cannot be used.
    """
    arguments = _parser().parse_args(argv)
    directory = arguments.directory or os.environ.get(VARIABLE)
    if not directory:
        return _fail(f"name the directory, or set {VARIABLE}")
    if not os.path.isdir(os.path.expanduser(directory)):  # to look at a cache shall not make one
        return _fail(f"there is no directory {directory}")
    cache = PlanCache.open(directory, 0)
    if cache is None:
        return 2  # the warning says why
    try:
        return int(arguments.command(cache, arguments))
    except OSError as error:
        return _fail(str(error))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="relay-trt-cache", description="Shows, checks and empties a plan cache.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, command, text in (
        ("list", _list, "what is kept"),
        ("verify", _verify, "read everything, and name what is damaged; then the exit status is 1"),
        ("clear", _clear, "delete plans and records, and no other files"),
    ):
        subparser = commands.add_parser(name, help=text, description=f"{name}: {text}.")
        subparser.set_defaults(command=command)
        subparser.add_argument("directory", nargs="?", metavar="DIR", help=f"${VARIABLE} where it is not given")
        if command is _verify:
            subparser.add_argument("--delete", action="store_true", help="delete what is damaged")
        if command is _clear:
            subparser.add_argument("--symbol", help="only the plans of this subgraph")
            subparser.add_argument(
                "--older-than", type=_days, default=0.0, metavar="DAYS", help="only what is unused since"
            )
    return parser


def _list(cache: PlanCache, arguments: argparse.Namespace) -> int:
    entries = cache.entries()
    rows = [HEADINGS, *(_row(entry) for entry in entries)]
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
    print(_total(entries))
    return 0


def _verify(cache: PlanCache, arguments: argparse.Namespace) -> int:
    count = len(cache.entries())
    problems = cache.verify(arguments.delete)
    for entry, problem, deleted in problems:
        kept = "; it could not be deleted" if arguments.delete else ""
        print(f"{entry.name}: {problem}{'; deleted' if deleted else kept}")
    print(f"{len(problems)} of {count} are damaged")
    return 1 if problems else 0


def _clear(cache: PlanCache, arguments: argparse.Namespace) -> int:
    before = {entry.name for entry in cache.entries()}
    removed = cache.clear(arguments.symbol, arguments.older_than)
    print(f"deleted: {_total(removed)}")
    everything = arguments.symbol is None and not arguments.older_than
    left = [entry for entry in cache.entries() if everything and entry.name in before]
    return _fail(f"{_total(left)} could not be deleted") if left else 0


def _row(entry: CacheEntry) -> Sequence[str]:
    used = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.last_used))
    size = f"{entry.size / 2**20:.1f} MiB"
    if entry.kind == "record":
        return (f"(record {entry.name})", "", "", "", "", size, used)
    facts = entry.facts
    cells = (entry.symbol, _engine(facts), str(facts.get("gpu", "")), _precision(facts), _shapes(facts.get("profiles")))
    return (*(cell if len(cell) <= WIDTH else f"{cell[: WIDTH - 3]}..." for cell in cells), size, used)


def _engine(facts: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {facts[name]}" for name in ("tensorrt", "onnxruntime") if name in facts)


def _precision(facts: Mapping[str, Any]) -> str:
    """What the plan may compute in besides float32."""
    used = [name[len("use_") :] for name in sorted(facts) if name.startswith("use_") and facts[name] is True]
    return ", ".join(used + ["int8"] * bool(facts.get("calibration")))


def _shapes(profiles: Any) -> str:
    """The shapes of the inputs, as in ``1..8x3x224x224, 1x10``; what is no list of profiles as JSON."""
    if profiles is None:
        return ""
    try:
        return ", ".join(_shape(profile["min"], profile["max"]) for profile in profiles)
    except (LookupError, TypeError):
        return json.dumps(profiles)


def _shape(smallest: Sequence[int], largest: Sequence[int]) -> str:
    sizes = (str(high) if low == high else f"{low}..{high}" for low, high in zip(smallest, largest))
    return "x".join(sizes) or "scalar"


def _total(entries: List[CacheEntry]) -> str:
    plans = [entry for entry in entries if entry.kind == "plan"]
    size = sum(entry.size for entry in entries) / 2**20
    return f"{len(plans)} plans and {len(entries) - len(plans)} records, {size:.1f} MiB"


def _days(text: str) -> float:
    days = float(text)
    if not days >= 0:
        raise argparse.ArgumentTypeError(f"{text} is no number of days")
    return days * DAY


def _fail(message: str) -> int:
    print(f"relay-trt-cache: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
