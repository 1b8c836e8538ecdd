"""The C source of a subgraph: the only native code that there is."""

from __future__ import annotations

from pathlib import Path

from ..graph import ALIGNMENT, Graph

_TEMPLATE = Path(__file__).with_name("subgraph.c").read_text(encoding="utf-8")
_LINE = 4096  # characters of JSON in one literal: compilers are only promised to take 65,536 bytes
_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "?": "\\?"})  # two question marks may begin a trigraph


def c_source(graph: Graph, constants: Path) -> str:
    """Fill the template ``subgraph.c`` with a graph.

    Parameters
    ----------
    graph : graph.Graph
        The subgraph; its symbol must be a C identifier, as TVM's global symbols are.
    constants : pathlib.Path
        The file that holds its constants, each at its place in `Graph.offsets`. The compiler reads it.

    Returns
    -------
    str
        C that compiles as C++ too, as TVM's ``export_library`` has it compiled.
    """
    num_inputs, num_outputs = len(graph.inputs()), len(graph.heads)
    asm_string = '"' + str(constants).translate(_ESCAPES) + '"'
    return (
        _TEMPLATE.replace("@SYMBOL@", graph.symbol)
        .replace("@NUM_INPUTS@", str(num_inputs))
        .replace("@NUM_OUTPUTS@", str(num_outputs))
        .replace("@NUM_TENSORS@", str(num_inputs + num_outputs))
        .replace("@ALIGNMENT@", str(ALIGNMENT))
        .replace("@CONSTANTS_SIZE@", str(graph.offsets()[-1]))
        .replace("@CONSTANTS_HEADER@", f'"{constants}"')  # the name of a header has no escapes
        .replace("@CONSTANTS_FILE@", asm_string.translate(_ESCAPES))
        .replace("@JSON@", _string_literal(graph.to_json()))
    )


def _string_literal(text: str) -> str:
    pieces = [text[start : start + _LINE] for start in range(0, len(text), _LINE)]
    return "\n".join(f'"{piece.translate(_ESCAPES)}"' for piece in pieces)
