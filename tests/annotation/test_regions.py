"""What goes into one subgraph, on random graphs: nothing is lost, nothing changes, and no neighbours are left."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Sequence, Set, Tuple

import numpy as np
import pytest
import tvm
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from tvm import relay
from tvm.relay.loops import while_loop
from tvm.runtime.vm import VirtualMachine

import relay_trt
from relay_trt.annotation.regions import group, offload
from relay_trt.operators import OPERATORS
from relay_trt.relay_ir import is_subgraph, operator_calls

from ..support import assert_close, compile_library, module, random, run_library, run_tvm

REFUSED = ("tanh", "split")
Graph = Dict[Any, Set[Any]]


@pytest.fixture(scope="module", autouse=True)
def two_operators_are_refused() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in REFUSED:
            patch.delitem(OPERATORS, name, raising=False)
        yield


# A small interpreter of Relay: what a module computes, whatever functions it is cut into.
NUMPY: Dict[str, Callable[..., Any]] = {
    "abs": lambda _, x: np.abs(x),
    "add": lambda _, x, y: x + y,
    "concatenate": lambda attrs, xs: np.concatenate(xs, int(attrs.axis)),
    "maximum": lambda _, x, y: np.maximum(x, y),
    "nn.batch_norm": lambda attrs, x, gamma, beta, mean, variance: [
        (x - mean) / np.sqrt(variance + attrs.epsilon) * gamma + beta,
        mean,
        variance,
    ],
    "nn.bias_add": lambda _, x, bias: x + bias,
    "nn.relu": lambda _, x: np.maximum(x, 0),
    "sigmoid": lambda _, x: 1 / (1 + np.exp(-x)),
    "split": lambda attrs, x: np.split(x, 2, int(attrs.axis)),
    "tanh": lambda _, x: np.tanh(x),
}


def interpret(mod: tvm.IRModule, function: relay.Function, args: Sequence[Any]) -> Any:
    value: Dict[relay.Expr, Any] = dict(zip(function.params, args))

    def visit(expr: relay.Expr) -> None:
        if isinstance(expr, relay.Constant):
            value[expr] = expr.data.numpy()
        elif isinstance(expr, relay.Tuple):
            value[expr] = [value[field] for field in expr.fields]
        elif isinstance(expr, relay.TupleGetItem):
            value[expr] = value[expr.tuple_value][expr.index]
        elif isinstance(expr, relay.Call):
            operands = [value[argument] for argument in expr.args]
            is_operator = isinstance(expr.op, tvm.ir.Op)
            value[expr] = NUMPY[expr.op.name](expr.attrs, *operands) if is_operator else call(expr.op, operands)

    def call(name: relay.GlobalVar, operands: List[Any]) -> Any:
        return interpret(mod, mod[name], operands)

    relay.analysis.post_order_visit(function.body, visit)
    return value[function.body]


@st.composite
def modules(draw: Callable[..., Any]) -> tvm.IRModule:
    """Chains, diamonds, shared inputs, residuals and tuples, of operators that are accepted and that are refused."""
    variables = [relay.var(f"x{i}", shape=(2, 4)) for i in range(draw(st.integers(1, 3)))]
    tensors: List[Tuple[relay.Expr, int]] = [(x, 4) for x in variables]  # with their widths

    def tensor(width: int = 0) -> Tuple[relay.Expr, int]:
        return draw(st.sampled_from([t for t in tensors[-6:] if width in (0, t[1])]))

    def vector(width: int) -> relay.Constant:
        return relay.const(random(width, seed=len(tensors), low=0.5))

    kinds = ["unary", "refused", "binary", "constant", "concatenate", "split", "tuple", "batch_norm"]
    for kind in draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=14)):
        x, width = tensor()
        if kind == "unary":
            tensors.append((draw(st.sampled_from([relay.nn.relu, relay.sigmoid, relay.abs]))(x), width))
        elif kind == "refused":
            tensors.append((relay.tanh(x), width))
        elif kind == "binary":
            tensors.append((draw(st.sampled_from([relay.add, relay.maximum]))(x, tensor(width)[0]), width))
        elif kind == "constant":
            tensors.append((x + vector(width), width))
        elif kind == "concatenate" and width <= 8:
            others = [tensor() for _ in range(draw(st.integers(1, 2)))]
            tensors.append((relay.concatenate([x, *(y for y, _ in others)], 1), width + sum(w for _, w in others)))
        elif kind == "split" and width % 2 == 0:
            tensors += [(half, width // 2) for half in relay.split(x, 2, axis=1)]
        elif kind == "tuple" and width % 2 == 0:
            tensors.append((relay.concatenate(relay.split(x, 2, axis=1).astuple(), 1), width))
        elif kind == "batch_norm":
            y, mean, _ = relay.nn.batch_norm(x, *(vector(width) for _ in range(4)))
            tensors.append((y, width))
            if draw(st.booleans()):
                tensors.append((relay.nn.bias_add(x, draw(st.sampled_from([relay.tanh, relay.abs]))(mean)), width))
    outputs = draw(st.lists(st.sampled_from([x for x, _ in tensors[-4:]]), min_size=1, max_size=3))
    body = outputs[0] if len(outputs) == 1 and draw(st.booleans()) else relay.Tuple(outputs)
    return module(relay.Function(variables, body))


def names(function: relay.Function) -> List[str]:
    return [call.op.name for call in operator_calls(function)]


def subgraphs(mod: tvm.IRModule) -> List[relay.Function]:
    return [function for function in mod.functions.values() if is_subgraph(function)]


def partition(mod: tvm.IRModule) -> tvm.IRModule:
    return relay_trt.partition_for_tensorrt(mod, use_implicit_batch=False)[0]


def reads(function: relay.Function) -> Graph:
    """The calls that each call reads, through tuples."""
    sources: Dict[relay.Expr, Set[relay.Expr]] = {}

    def visit(expr: relay.Expr) -> None:
        operands = getattr(expr, "args", None) or getattr(expr, "fields", None) or [getattr(expr, "tuple_value", None)]
        known = [operand for operand in operands if operand in sources]
        sources[expr] = set().union(*({o} if isinstance(o, relay.Call) else sources[o] for o in known))

    relay.analysis.post_order_visit(function.body, visit)
    return {expr: found for expr, found in sources.items() if isinstance(expr, relay.Call)}


def waits_for(node: Any, graph: Graph) -> Set[Any]:
    """What a node reads, and what that reads, and so on."""
    found: Set[Any] = set()
    todo = [node]
    while todo:
        for other in graph[todo.pop()] - found:
            found.add(other)
            todo.append(other)
    return found


def mergeable(graph: Graph, accepted: Set[Any]) -> List[Tuple[Any, Any]]:
    """The accepted neighbours between which nothing lies."""
    return [
        (first, second)
        for second in accepted
        for first in graph[second] & accepted
        if not any(first in waits_for(other, graph) for other in graph[second] - {first})
    ]


@given(modules())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_graph_keeps_its_meaning_in_as_few_subgraphs_as_can_be(mod: tvm.IRModule) -> None:
    partitioned = partition(mod)
    main = partitioned["main"]
    inputs = [random((2, 4), seed=i) for i in range(len(main.params))]
    np.testing.assert_equal(interpret(partitioned, main, inputs), interpret(mod, mod["main"], inputs))

    assert set(names(main)) <= set(REFUSED)
    assert all(names(function) for function in subgraphs(partitioned))
    assert sorted(sum(map(names, subgraphs(partitioned)), names(main))) == sorted(names(mod["main"]))

    graph = reads(main)
    calls = {call for call in graph if isinstance(call.op, relay.GlobalVar)}
    assert len(calls) == len(subgraphs(partitioned))
    assert not mergeable(graph, calls)


@given(mod=modules(), folder=st.builds(tempfile.TemporaryDirectory))
@settings(max_examples=4, deadline=None, phases=[Phase.generate])
def test_any_graph_runs_as_tvm_runs_it(mod: tvm.IRModule, folder: tempfile.TemporaryDirectory) -> None:
    inputs = {param.name_hint: random((2, 4), seed=i) for i, param in enumerate(mod["main"].params)}
    with folder as path:
        got = run_library(compile_library(partition(mod), Path(path) / "library.so"), inputs)
    assert_close(got, run_tvm(mod, inputs))


NODES = st.lists(st.tuples(st.booleans(), st.sets(st.integers(1, 9), max_size=2)), min_size=3, max_size=16)
# The last node waits for the fifth from its end through two groups that only came to wait for each other by merges.
LATE = [(True, set()), (False, {1}), (True, set()), (False, {1}), (True, {4, 1})]
LATE += [(True, set()), (False, {1}), (True, {5, 1}), (True, {7, 3})]


@given(NODES)
@example(LATE)
@settings(max_examples=300, deadline=None)
def test_groups_are_connected_acyclic_and_cannot_be_merged(nodes: List[Tuple[bool, Set[int]]]) -> None:
    accepted = [is_accepted for is_accepted, _ in nodes]
    before = [{i - distance for distance in distances if distance <= i} for i, (_, distances) in enumerate(nodes)]
    home = group([sorted(others) for others in before], accepted)
    graph = {g: {home[i] for node in range(len(home)) if home[node] == g for i in before[node]} - {g} for g in home}
    for g in graph:
        members = [node for node, h in enumerate(home) if h == g]
        assert len(members) == 1 or all(accepted[node] for node in members)
        links = {i: {j for j in members if i in before[j] or j in before[i]} for i in members}
        assert waits_for(g, links) | {g} == set(members)
        assert g not in waits_for(g, graph)
    assert not mergeable(graph, {g for g in graph if accepted[g]})


x = relay.var("x", shape=(2, 4))
relu, sigmoid, tanh = relay.nn.relu, relay.sigmoid, relay.tanh


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(relay.concatenate([x, relu(x)], 1), [["nn.relu", "concatenate"]], id="a tuple with an input"),
        pytest.param(relay.concatenate([tanh(x), relu(x)], 1), [["nn.relu", "concatenate"]], id="a tuple with another"),
        pytest.param(relay.Tuple([relu(x), x, tanh(x)]), [["nn.relu"]], id="a tuple of outputs"),
        pytest.param(relay.Tuple([relu(x), sigmoid(x)]), [["nn.relu"], ["sigmoid"]], id="that share only an input"),
        pytest.param(relu(tanh(relu(x))) + relu(x), [["nn.relu"], ["nn.relu", "nn.relu", "add"]], id="around another"),
        pytest.param(
            relay.TupleGetItem(relay.Tuple([relu(x), tanh(x)]), 0), [["nn.relu"]], id="a field that is not used"
        ),
        pytest.param(relay.Tuple([x, relay.Tuple([relu(x)])]), [["nn.relu"]], id="a tuple in a tuple"),
        pytest.param(x, [], id="no operator"),
        pytest.param(tanh(x), [], id="no accepted operator"),
    ],
)
def test_subgraphs_of(body: relay.Expr, expected: List[List[str]]) -> None:
    assert sorted(map(names, subgraphs(partition(module(body))))) == sorted(expected)


def test_a_field_of_a_tuple_reads_that_field_only() -> None:
    """TVM folds it away before, as a rule."""
    mod = module(relu(relay.TupleGetItem(relay.Tuple([sigmoid(x), tanh(x)]), 0)))
    offloaded, _ = offload(mod, lambda function: None)
    assert names(offloaded["main"]) == []
    assert [names(function) for function in subgraphs(offloaded)] == [["sigmoid", "nn.relu"]]


def test_what_is_not_wanted_is_given_back() -> None:
    mod = module(relu(tanh(relay.abs(sigmoid(x)))))
    offloaded, given_back = offload(mod, lambda function: "no" if "abs" in names(function) else None)
    assert [(call.op.name, reason) for call, reason in given_back] == [("sigmoid", "no"), ("abs", "no")]
    assert names(offloaded["main"]) == ["sigmoid", "abs", "tanh"]
    assert [names(function) for function in subgraphs(offloaded)] == [["nn.relu"]]


WHOLE = "whole numbers that come as floats: TensorRT may round them to float16"
one = relay.var("one", shape=(4,))


@pytest.mark.parametrize(
    ("body", "outside", "inside"),
    [
        pytest.param(relay.cast(one, "int32"), ["cast"], ["take"], id="an input"),
        pytest.param(relay.cast_like(one, relay.const(1, "int32")), ["cast_like"], ["take"], id="cast_like"),
        pytest.param(relay.cast(tanh(one), "int32"), ["tanh", "cast"], ["take"], id="a result of TVM's"),
        pytest.param(relay.cast(relu(one), "int32"), [], ["nn.relu", "cast", "take"], id="a result of TensorRT's"),
        pytest.param(
            relay.cast(relay.cast(one, "bool"), "int32"), [], ["cast", "cast", "take"], id="truths that were floats"
        ),
    ],
)
def test_whole_numbers_that_come_as_floats_are_not_cast_by_tensorrt(
    body: relay.Expr, outside: List[str], inside: List[str]
) -> None:
    """Before it reads them, it may make float16 of what a subgraph is given as float32; integers stay what they are."""
    mod = module(relay.take(relay.const(random((8, 3))), body, axis=0))
    offloaded, given_back = offload(mod, lambda function: None)
    assert names(offloaded["main"]) == outside
    assert [names(function) for function in subgraphs(offloaded)] == [inside]
    casts = [name for name in outside if name != "tanh"]
    assert [(call.op.name, reason) for call, reason in given_back] == [(name, WHOLE) for name in casts]


def test_one_more_function_has_a_free_name() -> None:
    mod = module(relu(tanh(relu(x))))
    for name in ("main.0", "tvmgen_default_tensorrt_main_0", "main_0"):
        mod[name] = relay.Function([x], relu(x))
    symbols = [str(function.attrs["global_symbol"]) for function in subgraphs(partition(mod))]
    assert sorted(symbols) == [
        "tvmgen_default_tensorrt_main_0_0",
        "tvmgen_default_tensorrt_main_0_1",
        "tvmgen_default_tensorrt_main_1",
        "tvmgen_default_tensorrt_main_2",
        "tvmgen_default_tensorrt_tvmgen_default_tensorrt_main_0_0",
    ]


def test_what_another_compiler_takes_is_left_alone() -> None:
    y = relay.var("y", shape=(2, 4))
    fused = relay.Function([y], relu(y)).with_attr("Primitive", tvm.tir.IntImm("int32", 1))
    mod = module(relay.Call(fused, [sigmoid(x)]))
    theirs = relay.Function([y], relu(y)).with_attr("Compiler", "other").with_attr("global_symbol", "theirs")
    mod["theirs"] = theirs
    partitioned = partition(mod)
    assert [names(function) for function in subgraphs(partitioned)] == [["sigmoid"]]
    assert tvm.ir.structural_equal(partitioned["theirs"].body, theirs.body, map_free_vars=True)


def test_a_chain_longer_than_pythons_stack() -> None:
    body: relay.Expr = x
    for i in range(1200):
        body = relu(body) if i % 8 else tanh(body)
    assert len(subgraphs(partition(module(body)))) == 150


# Operators may be anywhere in a program.
c, y, v, w = relay.var("c", shape=(), dtype="bool"), relay.var("y", shape=(2, 4)), relay.var("v"), relay.var("w")
shared = sigmoid(relu(x))
programs = {
    "branches": relay.Function(
        [c, x], relay.Tuple([relay.If(c, relu(shared) + relay.abs(shared), tanh(relu(shared))), relay.abs(shared)])
    ),
    "a tuple in a branch": relay.Function(
        [c, x], relay.If(c, relay.split(shared, 2, 1)[0], relay.split(relu(x), 2, 1)[1])
    ),
    "bindings": relay.Function(
        [x], relay.Let(v, relu(shared), relay.Let(w, tanh(v + shared), sigmoid(w) + shared + v))
    ),
    "a binding inside": relay.Function([x], relu(relay.Let(v, relu(shared), v + relu(v))) + shared),
    "a closure": relay.Function([x], relay.Let(v, relay.Function([y], relu(y) + shared), v(relay.abs(shared)) + v(x))),
    "a function called at once": relay.Function([x], relay.Function([y], relu(y) + shared)(relay.abs(shared))),
    "a loop": relay.Function(
        [x],
        while_loop(
            lambda i, _: relay.less(i, relay.const(3)),
            [relay.var("i", shape=(), dtype="int32"), relay.var("state", shape=(2, 4))],
            lambda i, state: [i + relay.const(1), relu(state) + sigmoid(tanh(state))],
        )(relay.const(0), relu(shared)),
    ),
}

# In the closure, and where it is called.
COMPUTED_TWICE = {"a closure": ["nn.relu", "sigmoid"]}


def run_vm(mod: tvm.IRModule, folder: Path) -> Any:
    with tvm.transform.PassContext(opt_level=1):
        executable = relay.vm.compile(mod, target="llvm")
    executable.mod.export_library(str(folder / "vm.so"))
    machine = VirtualMachine(tvm.runtime.load_module(str(folder / "vm.so")), tvm.cpu())
    args = [np.array(True) if param.name_hint == "c" else random((2, 4)) for param in mod["main"].params]
    result = machine.invoke("main", *args)
    return [field.numpy() for field in (result if isinstance(result, tvm.runtime.container.ADT) else [result])]


@pytest.mark.parametrize("name", programs)
def test_operators_in_programs(name: str, tmp_path: Path) -> None:
    mod = module(programs[name])
    partitioned = partition(mod)
    assert not set(names(partitioned["main"])) & set(OPERATORS) - {"add"}  # the loop's counter is an integer
    everything = sum(map(names, subgraphs(partitioned)), names(partitioned["main"]))
    assert sorted(everything) == sorted(names(mod["main"]) + COMPUTED_TWICE.get(name, []))
    assert_close(run_vm(partitioned, tmp_path), run_vm(mod, tmp_path))
