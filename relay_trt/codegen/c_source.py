"""The C source of a subgraph: the only native code that there is."""

from __future__ import annotations

from pathlib import Path

from ..graph import Graph

_TEMPLATE = Path(__file__).with_name("subgraph.c").read_text(encoding="utf-8")
_LINE = 4096  # characters of JSON in one literal: compilers are only promised to take 65,536 bytes


def c_source(graph: Graph) -> str:
    """Fill the template ``subgraph.c`` with a graph.

    Parameters
    ----------
    graph : graph.Graph
        The subgraph; its symbol must be a C identifier, as TVM's global symbols are.

    Returns
    -------
    str
        C that compiles as C++ too, as TVM's ``export_library`` has it compiled.
    """
    num_inputs, num_outputs = len(graph.inputs()), len(graph.heads)
    return (
        _TEMPLATE.replace("@SYMBOL@", graph.symbol)
        .replace("@NUM_INPUTS@", str(num_inputs))
        .replace("@NUM_OUTPUTS@", str(num_outputs))
        .replace("@NUM_TENSORS@", str(num_inputs + num_outputs))
        .replace("@JSON@", _string_literal(graph.to_json()))
    )


def _string_literal(text: str) -> str:
    # A question mark is escaped because two of them may begin a trigraph.
    escapes = str.maketrans({"\\": "\\\\", '"': '\\"', "?": "\\?"})
    pieces = [text[start : start + _LINE] for start in range(0, len(text), _LINE)]
    return "\n".join(f'"{piece.translate(escapes)}"' for piece in pieces)
