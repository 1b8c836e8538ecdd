from __future__ import annotations

import copy
import dataclasses
import json
from typing import Any, Callable, Dict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_trt.graph import (
    CONST,
    DIGEST_ATTR,
    FORMAT,
    INPUT,
    KERNEL,
    Entry,
    Graph,
    GraphError,
    Node,
    Profile,
    TensorSpec,
    array_digest,
)
from relay_trt.options import CompileOptions

IMAGE = TensorSpec((-1, 3, 8, 8), "float32")
GRAPH = Graph(
    symbol="main_0",
    nodes=(
        Node(INPUT, "data", (IMAGE,), profile=Profile((1, 3, 8, 8), (4, 3, 8, 8), (9, 3, 8, 8))),
        Node(CONST, "main_0_const_0", (TensorSpec((3,), "float32"),)),
        Node(KERNEL, "split", (IMAGE, IMAGE), (Entry(0), Entry(1)), {"axis": 1, "layout": "NCHW", "sizes": [1, 2]}),
        Node(KERNEL, "nn.relu", (IMAGE,), (Entry(2, 1),)),
    ),
    heads=(Entry(3), Entry(2, 0)),
    options=CompileOptions((8, 6, 1), max_workspace_size=1 << 20),
)
DOCUMENT: Dict[str, Any] = json.loads(GRAPH.to_json())


def test_survives_json() -> None:
    assert Graph.from_json(GRAPH.to_json()) == GRAPH


PLAN = Node(CONST, "main_0_const_1", (TensorSpec((5,), "uint8"),))
WITH_ENGINE = dataclasses.replace(GRAPH, nodes=(*GRAPH.nodes, PLAN), engine={"tensorrt": "8.6.0", "profiles": []})


def test_an_engine_travels_along() -> None:
    again = Graph.from_json(WITH_ENGINE.to_json())
    assert again == WITH_ENGINE
    assert again.engine == {"tensorrt": "8.6.0", "profiles": []}
    assert again.without_engine() == GRAPH == GRAPH.without_engine()


def test_an_engine_without_its_plan() -> None:
    for nodes in (GRAPH.nodes, (*GRAPH.nodes, dataclasses.replace(PLAN, outputs=(TensorSpec((5,), "int8"),)))):
        with pytest.raises(GraphError, match="it has an engine, but its last node is no plan"):
            Graph.from_json(dataclasses.replace(WITH_ENGINE, nodes=nodes).to_json())


def test_the_digest_tells_weights_and_attributes_apart() -> None:
    weights = {"main_0_const_0": np.float32([1, 2, 3])}
    digest = GRAPH.digest(weights)
    assert digest == Graph.from_json(GRAPH.to_json()).digest({"main_0_const_0": np.float32([1, 2, 3])})
    assert digest != GRAPH.digest({"main_0_const_0": np.float32([1, 2, 4])})
    assert digest != dataclasses.replace(GRAPH, options=CompileOptions((8, 6, 1))).digest(weights)


def test_weights_whose_digest_is_in_the_graph_are_not_read() -> None:
    first, constant, *others = GRAPH.nodes
    known = dataclasses.replace(constant, attrs={DIGEST_ATTR: array_digest(np.float32([1, 2, 3]))})
    graph = dataclasses.replace(GRAPH, nodes=(first, known, *others))
    assert len(graph.digest({})) == 64


def test_has_tvms_layout() -> None:
    """The keys that tools for TVM's own JSON graphs read."""
    assert [node["op"] for node in DOCUMENT["nodes"]] == ["input", "const", "kernel", "kernel"]
    assert DOCUMENT["nodes"][2]["inputs"] == [[0, 0, 0], [1, 0, 0]]
    assert DOCUMENT["nodes"][2]["attrs"]["shape"] == [[[-1, 3, 8, 8], [-1, 3, 8, 8]]]
    assert DOCUMENT["nodes"][2]["attrs"]["dtype"] == [["float32", "float32"]]
    assert DOCUMENT["nodes"][2]["attrs"]["num_outputs"] == "2"
    assert DOCUMENT["arg_nodes"] == [0, 1]
    assert DOCUMENT["heads"] == [[3, 0, 0], [2, 0, 0]]
    assert DOCUMENT["node_row_ptr"] == [0, 1, 2, 4, 5]
    assert (DOCUMENT["format"], DOCUMENT["symbol"]) == (FORMAT, "main_0")


def test_views() -> None:
    assert [node.name for node in GRAPH.inputs()] == ["data"]
    assert [node.name for node in GRAPH.constants()] == ["main_0_const_0"]
    assert GRAPH.outputs() == [IMAGE, IMAGE]


def test_dtypes() -> None:
    assert GRAPH.dtypes == {"float32"}
    indices = Node(KERNEL, "argmax", (TensorSpec((2,), "int32"),), (Entry(0),))
    assert dataclasses.replace(GRAPH, nodes=(*GRAPH.nodes, indices)).dtypes == {"float32", "int32"}


def test_admits() -> None:
    assert IMAGE.admits((5, 3, 8, 8))
    assert not IMAGE.admits((5, 3, 8, 9))
    assert not IMAGE.admits((3, 8, 8))
    assert str(IMAGE) == "float32[?, 3, 8, 8]"


def test_profiles() -> None:
    profile = GRAPH.inputs()[0].profile
    assert profile == Profile((1, 3, 8, 8), (4, 3, 8, 8), (9, 3, 8, 8))
    assert DOCUMENT["nodes"][0]["attrs"]["profile"] == {"min": [1, 3, 8, 8], "opt": [4, 3, 8, 8], "max": [9, 3, 8, 8]}
    assert profile.admits((1, 3, 8, 8)) and profile.admits((9, 3, 8, 8))
    assert not profile.admits((10, 3, 8, 8))
    assert not profile.admits((1, 3, 8))


def test_an_attribute_of_that_name_is_none() -> None:
    kernel = Node(KERNEL, "mine", (IMAGE,), (Entry(0),), {"profile": "low"})
    graph = Graph("main_0", (Node(INPUT, "data", (IMAGE,)), kernel), (Entry(1),), CompileOptions())
    assert Graph.from_json(graph.to_json()) == graph


def with_profile(**shapes: Any) -> str:
    good = {"min": [1, 3, 8, 8], "opt": [4, 3, 8, 8], "max": [9, 3, 8, 8]}
    return damaged(lambda d: d["nodes"][0]["attrs"].update(profile={**good, **shapes}))


def damaged(damage: Callable[[Dict[str, Any]], Any]) -> str:
    document = copy.deepcopy(DOCUMENT)
    damage(document)
    return json.dumps(document)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a JSON graph"),
        (DOCUMENT["symbol"], "not a JSON graph"),
        ("[]", "no format number"),
        ("{}", "no format number"),
        (
            damaged(lambda d: d.update(format=FORMAT + 1)),
            f"has format {FORMAT + 1}, written by relay_trt.*install a newer",
        ),
        (damaged(lambda d: d.pop("nodes")), "'main_0': 'nodes' is missing"),
        (damaged(lambda d: d.pop("options")), "'options' is missing"),
        (damaged(lambda d: d["options"].update(speed=11)), "unknown option 'speed'"),
        (damaged(lambda d: d["nodes"][3].update(op="magic")), "node 3 has the unknown op 'magic'"),
        (damaged(lambda d: d["nodes"][2].update(inputs=[[3, 0, 0]])), "node 2 .split. reads node 3"),
        (damaged(lambda d: d["nodes"][3].update(inputs=[[2, 2, 0]])), "no output 2 of node 2"),
        (damaged(lambda d: d.update(heads=[])), "no heads"),
        (damaged(lambda d: d.update(heads=[[4, 0, 0]])), "no output 0 of node 4"),
        (damaged(lambda d: d["nodes"][0]["attrs"].update(dtype=[[]])), "shape and dtype of node 'data'"),
        (damaged(lambda d: d["nodes"][0]["attrs"].update(shape=[[["1"]]])), "shape and dtype of node 'data'"),
        (damaged(lambda d: d["nodes"][0]["attrs"].update(profile=[1])), r"\[1\] does not consist of min, opt, max"),
        (with_profile(best=[1, 3, 8, 8]), "does not consist of min, opt, max"),
        (with_profile(min=[0, 3, 8, 8]), r"min is \[0, 3, 8, 8\]: it must be a list of integers above 0"),
        (with_profile(min=None), "min is None: it must be a list of integers above 0"),
        (with_profile(max=[9, 3, 8, 9]), r"max is \[9, 3, 8, 9\], which float32\[\?, 3, 8, 8\] does not admit"),
        (with_profile(min=[5, 3, 8, 8]), "no dimension may exceed the next one's"),
    ],
)
def test_malformed_graphs(text: str, message: str) -> None:
    with pytest.raises(GraphError, match=message):
        Graph.from_json(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=3), children, max_size=3),
    max_leaves=5,
)


@given(st.data())
def test_any_damage_is_a_graph_error(data: st.DataObject) -> None:
    """Replace anything in a graph by anything: it is read, or refused with the one error."""
    document = copy.deepcopy(DOCUMENT)
    place: Any = document
    while True:
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        deeper = isinstance(place[key], (dict, list)) and len(place[key]) > 0
        if not deeper or data.draw(st.booleans()):
            break
        place = place[key]
    place[key] = data.draw(JSON)
    try:
        Graph.from_json(json.dumps(document))
    except GraphError:
        pass
