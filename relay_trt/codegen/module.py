"""The external code generator that ``relay.build`` calls, once for each partitioned function."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Dict

import tvm
from tvm import relay

from ..options import CompileOptions
from ..relay_ir import COMPILER
from .c_source import c_source
from .constants import write_constants
from .pass_config import accept_options, options_of_pass_context
from .serializer import constants_of, options_of, serialize

# Set by TVM on the functions that it compiles for its ahead-of-time executor.
_AOT_ATTR = "used_memory"


@tvm.register_func(f"relay.ext.{COMPILER}")
def compile_subgraph(function: relay.Function) -> tvm.runtime.Module:
    """Compile one partitioned function to a C source module.

    Parameters
    ----------
    function : relay.Function
        The function, with its ``global_symbol``.

    Returns
    -------
    tvm.runtime.Module
        C source, which ``export_library`` compiles, together with the file of the constants.

    Raises
    ------
    NotImplementedError
        Where the module is built for TVM's AOT executor.
    """
    if _AOT_ATTR in function.attrs.keys():
        raise NotImplementedError(
            "relay_trt does not work with TVM's AOT executor: it calls a subgraph by its C symbol, with tensors that "
            "have no shape. Build for the graph executor or the VM"
        )
    symbol = str(function.attrs["global_symbol"])
    options = CompileOptions.from_dict({**options_of(function).to_dict(), **options_of_pass_context()})
    graph = serialize(function, symbol, options)
    constants = write_constants(graph, constants_of(function))
    create = tvm.get_global_func("runtime.CSourceModuleCreate")
    return create(c_source(graph, constants), "c", [symbol], [])


@tvm.register_func(f"relay.ext.{COMPILER}.constant_updater")
def constants_for_tvm(function: relay.Function, symbol: str) -> Dict[str, tvm.nd.NDArray]:
    """What TVM shall keep of a function's constants: nothing, as the C source brings them along."""
    return {}


def load(library: Any) -> tvm.runtime.Module:
    """Load what ``relay.build`` or ``relay.vm.compile`` returned, to run it in this process.

    A library with subgraphs holds C source, which must be compiled first: this exports it to a temporary
    folder and loads it from there, as ``export_library`` and ``load_module`` would.

    Parameters
    ----------
    library : object with export_library
        The result of ``relay.build``, or a VM executable, or its ``mod``.

    Returns
    -------
    tvm.runtime.Module
        The compiled module, as ``tvm.runtime.load_module`` returns it.
    """
    library = getattr(library, "mod", library)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "library.so"
        library.export_library(str(path))
        return tvm.runtime.load_module(str(path))


accept_options()
