"""What float16 and int8 cost in accuracy and give in speed, next to float32.

    python -m benchmarks.precision [--models resnet50_v1 mobilenetv2_1.0] [--level 3] [--rows "float16" ...]

With a GPU and TensorRT: float16 by the builder's flag and by types, int8 by calibration and by quantizing the Relay
module. Without: float32 and the quantized modules, on the CPU engine.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Sequence
from unittest import mock

import numpy as np
import tvm
from tvm import relay
from tvm.contrib.graph_executor import GraphModule

from relay_trt import partition_for_tensorrt
from relay_trt.runtime import Settings, Subgraph, subgraphs
from relay_trt.runtime.engines import choose_engine
from tools import mxnet_zoo

from . import measure, timing
from .candidates import expect_one_subgraph
from .quantize import folded, quantized

MODELS = ("resnet50_v1", "mobilenetv2_1.0")

CALIBRATION_IMAGES, TEST_IMAGES = 16, 16

# ImageNet's, for which the networks are made.
MEAN = np.array([0.485, 0.456, 0.406]).reshape(3, 1, 1)
DEVIATION = np.array([0.229, 0.224, 0.225]).reshape(3, 1, 1)

# The last norm's gamma of what a block adds to its input. Trained networks have small ones; with 1, random networks
# make much of little: an error in one layer is a larger one in the next.
GAMMA = 0.25

# What TensorRT's inspector calls types, which differs by version.
TYPES = {"float16": r"\b(FP16|Half)\b", "int8": r"\b(INT8|Int8)\b"}

LARGEST = 1e-5  # of the largest value: how far calls during calibration may be from float32's


class Row(NamedTuple):
    """A way to compute a network."""

    name: str
    variables: Mapping[str, str] = {}
    calibrated: bool = False
    quantized: bool = False


ROWS = (
    Row("float32"),
    Row("float16", {"TVM_TENSORRT_USE_FP16": "1"}),
    Row("float16 by types", {"TVM_TENSORRT_USE_FP16": "1", "TVM_TENSORRT_STRONG_TYPES": "1"}),
    Row(
        "int8 by calibration",
        {"TVM_TENSORRT_USE_INT8": "1", "TENSORRT_NUM_CALI_INT8": str(CALIBRATION_IMAGES)},
        calibrated=True,
    ),
    Row("int8 by Q/DQ", quantized=True),
)


class Model(NamedTuple):
    """A network, what to feed it, and what MXNet makes of that."""

    mod: tvm.IRModule  # its weights are constants
    calibration: List[np.ndarray]
    tests: List[np.ndarray]
    expected: List[np.ndarray]


class Runner:
    """A library that is loaded and called."""

    def __init__(self, path: Path, device: Any) -> None:
        self._device = device
        self._library = tvm.runtime.load_module(str(path))
        self._module = GraphModule(self._library["default"](device))

    def __call__(self, image: np.ndarray) -> np.ndarray:
        self._module.set_input("data", tvm.nd.array(image, self._device))
        self.run()
        return self._module.get_output(0).numpy()

    def run(self) -> None:
        self._module.run()
        self._device.sync()

    @property
    def subgraph(self) -> Subgraph:
        return subgraphs(self._library)[0]


class Bench:
    """The rows of one model.

    Parameters
    ----------
    model : Model
        The network.
    engine : str
        As ``TVM_TENSORRT_ENGINE`` has it.
    folder : pathlib.Path
        For libraries and plans.
    rounds, calls : int
        How often, and how many calls at a time, are timed.
    """

    def __init__(self, model: Model, engine: str, folder: Path, rounds: int, calls: int) -> None:
        self._model, self._folder, self._rounds, self._calls = model, folder, rounds, calls
        self._target = "cuda" if engine == "tensorrt" else "llvm"
        self._variables = {
            "TVM_TENSORRT_ENGINE": engine,
            "TVM_TENSORRT_USE_TF32": "0",
            "TVM_TENSORRT_USE_FP16": "0",
            "TVM_TENSORRT_USE_INT8": "0",
            "TVM_TENSORRT_STRONG_TYPES": "0",
            # Calls during calibration find float32's engine there: it is not built twice.
            "TVM_TENSORRT_CACHE_DIR": str(folder / "plans"),
        }
        self._reference: List[np.ndarray] = []  # float32's outputs: of the calibration images, then of the tests

    def measure(self, row: Row) -> Dict[str, Any]:
        """Build the engine of a row; how near it comes, and how long it takes. The first row is the reference."""
        with mock.patch.dict(os.environ, {**self._variables, **row.variables}):
            runner = Runner(self._library(row), tvm.device(self._target, 0))
            found = self._first_calls(row, runner)
            outputs = [runner(image) for image in self._model.tests]
            if not self._reference:
                self._reference = [*map(runner, self._model.calibration), *outputs]
                found["from MXNet"] = differences(outputs, self._model.expected)
                measure.say(f"{row.name}: differs from MXNet by {found['from MXNet']['difference']:.1e}")
            found.update(differences(outputs, self._reference[CALIBRATION_IMAGES:]))
            found.update(inspected(runner.subgraph))
            times = timing.in_turns({"": runner.run}, self._rounds, self._calls, warm_up=10, settle=3)[""]
            return {**found, "seconds": times.to_dict(50, 90, 99)}

    def _library(self, row: Row) -> Path:
        """The library of a row, in a file of its own: of two equal files, the loader would load one."""
        made = self._folder / f"{'int8' if row.quantized else 'float'}.so"
        if not made.exists():
            mod = self._model.mod
            if row.quantized:
                mod = quantized(folded(mod), self._model.calibration)
            partitioned, _ = partition_for_tensorrt(mod)
            expect_one_subgraph(partitioned)
            with tvm.transform.PassContext(opt_level=3):
                relay.build(partitioned, target=self._target).export_library(str(made))
        return Path(shutil.copy(str(made), str(self._folder / f"{ROWS.index(row)}.so")))

    def _first_calls(self, row: Row, runner: Runner) -> Dict[str, Any]:
        """Those that build the engine: by calibration, the last of them, and until then they must be float32's."""
        images = self._model.calibration if row.calibrated else self._model.calibration[:1]
        outputs: List[np.ndarray] = []
        seconds = timing.timed(lambda: outputs.extend(map(runner, images)))
        found: Dict[str, Any] = {"seconds to build": timing.rounded(seconds)}
        if row.calibrated:
            difference = largest_difference(outputs, self._reference[:CALIBRATION_IMAGES])
            measure.say(f"{row.name}: {len(outputs)} calls to calibrate, which differ from float32 by {difference:.1e}")
            found["difference during calibration"] = difference
            if difference > LARGEST:
                found["failed"] = f"calls during calibration must differ from float32 by at most {LARGEST}"
        return found


def images(count: int, size: int, seed: int) -> List[np.ndarray]:
    """Batches of one image each, normalized as ImageNet's: random light and shade, the coarser the stronger."""
    random = np.random.RandomState(seed)
    batches = []
    for _ in range(count):
        pixels = np.full((3, size, size), 0.5)
        for cell in (1, 4, 16, 64):
            cells = -(-size // cell)
            shades = np.kron(random.uniform(-1, 1, (3, cells, cells)), np.ones((cell, cell)))
            pixels += 0.05 * cell**0.5 * shades[:, :size, :size]
        batches.append(((pixels.clip(0, 1) - MEAN) / DEVIATION)[np.newaxis].astype("float32"))
    return batches


def trained(name: str, image_size: int) -> Model:
    """A network of MXNet's zoo: random weights, and norms that have the mean and the variance of what they get.

    With a fresh network's 0 and 1, values fade away, or grow, from each layer to the next.
    """
    mxnet = mxnet_zoo.import_mxnet()
    size = image_size or mxnet_zoo.image_size(name)
    block = mxnet_zoo.block(name, (1, 3, size, size))
    hooks: List[Any] = []

    def prepare(layer: Any) -> None:
        if isinstance(layer, mxnet.gluon.nn.BatchNorm):
            hooks.append(layer.register_forward_pre_hook(_learn))
        # What ResNets add to their input, and MobileNets.
        branch = getattr(layer, "body", None) or (layer.out if getattr(layer, "use_shortcut", False) else None)
        if branch is not None:
            gamma = list(branch.collect_params(".*gamma").values())[-1]
            gamma.set_data(mxnet.nd.full(gamma.shape, GAMMA))

    block.apply(prepare)
    block(mxnet.nd.array(np.concatenate(images(16, size, seed=0)))).wait_to_read()
    for hook in hooks:
        hook.detach()
    tests = images(TEST_IMAGES, size, seed=2)
    expected = [block(mxnet.nd.array(image)).asnumpy() for image in tests]
    mod, params = relay.frontend.from_mxnet(block, shape={"data": (1, 3, size, size)}, dtype="float32")
    mod["main"] = relay.build_module.bind_params_by_name(mod["main"], params)
    return Model(mod, images(CALIBRATION_IMAGES, size, seed=1), tests, expected)


def _learn(norm: Any, inputs: Sequence[Any]) -> None:
    """Give a norm the statistics of what it is about to get, as training would."""
    values = inputs[0].asnumpy()
    norm.running_mean.set_data(values.mean((0, 2, 3)))
    norm.running_var.set_data(values.var((0, 2, 3)))


def differences(outputs: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> Dict[str, float]:
    """How near the outputs of several calls come to what they should be.

    Returns
    -------
    dict
        ``"difference"``: the largest, as a part of the largest value. ``"cosine"``: of the worst call. ``"noise"``: the
        difference as a part of how much outputs differ from one input to the next, both as root mean squares.
        ``"same class"``: the share of calls whose largest value is at the same place.
    """
    got, want = (np.stack(values).reshape(len(values), -1).astype("float64") for values in (outputs, expected))
    cosines = (got * want).sum(1) / (np.linalg.norm(got, axis=1) * np.linalg.norm(want, axis=1))
    return {
        "difference": largest_difference(outputs, expected),
        "cosine": float(cosines.min()),
        "noise": float(np.sqrt(((got - want) ** 2).mean() / want.var(0).mean())),
        "same class": float((got.argmax(1) == want.argmax(1)).mean()),
    }


def largest_difference(outputs: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> float:
    """Of all calls, as a part of the largest value."""
    want = np.stack(expected)
    return float(np.abs(np.stack(outputs) - want).max() / np.abs(want).max())


def inspected(subgraph: Subgraph) -> Dict[str, Any]:
    """The size of a subgraph's plan, and how many of its layers read or write which type."""
    layers = subgraph.information()
    counts = {dtype: sum(uses(layer, dtype) for layer in layers) for dtype in TYPES}
    plan = memoryview(subgraph.compiled_plan().plan)
    return {"plan bytes": plan.nbytes, "layers": {"all": len(layers), **counts}}


def uses(layer: Mapping[str, Any], dtype: str) -> bool:
    """Whether a layer reads or writes a type, by TensorRT's inspector; of ONNX Runtime's, nothing is known."""
    tensors = [*layer.get("Inputs", []), *layer.get("Outputs", [])]
    said = " ".join(str(value) for tensor in tensors for key, value in tensor.items() if key != "Name")
    return bool(re.search(TYPES[dtype], said))


def cells(found: Mapping[str, Any]) -> List[str]:
    """A row of the table, but for its name."""
    layers, seconds = found["layers"], found["seconds"]
    return [
        f"{found['difference']:.1e}",
        f"{found['cosine']:.6f}",
        f"{found['noise']:.1e}",
        f"{found['same class']:.0%}",
        f"{found['plan bytes'] / 1e6:.1f}",
        *(f"{seconds[name] * 1e3:.4g}" for name in ("p50", "p90", "p99")),
        f"{layers['float16']}, {layers['int8']} of {layers['all']}",
        f"{found['seconds to build']:.1f} s",
    ]


COLUMNS = ("", "differs by", "cosine", "noise", "class", "MB", "p50 ms", "p90 ms", "p99 ms", "half, int8", "built in")


def measure_rows(bench: Bench, rows: Sequence[Row], results: Dict[str, Any], done: Callable[[], None]) -> None:
    """One row after the other into the results; what fails is written down, and the next has its turn.

    ``done`` is called after each.
    """
    for row in rows:
        try:
            found = results[row.name] = bench.measure(row)
        except (Exception, SystemExit) as error:  # a network that TensorRT refuses says nothing about the other rows
            if row.name == ROWS[0].name:
                raise
            results[row.name] = {"failed": f"{type(error).__name__}: {error}"}
            measure.say(f"{row.name}: failed: {error}")
        else:
            columns = zip(COLUMNS[1:], cells(found))
            measure.say(f"{row.name}: " + ", ".join(f"{name} {cell}" for name, cell in columns))
        done()


def main() -> None:
    names = [row.name for row in ROWS]
    parser = measure.parser(__doc__.splitlines()[0], "precision")
    parser.add_argument("--models", nargs="+", default=list(MODELS), help="of MXNet's model zoo")
    parser.add_argument("--rows", nargs="+", default=names, choices=names, help="float32 is always among them")
    parser.add_argument(
        "--level", type=int, help="TVM_TENSORRT_BUILDER_LEVEL; without it, the variable or TensorRT's own"
    )
    parser.add_argument("--image-size", type=int, default=0, help="0 is the one that the network is made for")
    parser.add_argument("--rounds", type=int, default=5, help="how often the calls below are repeated")
    parser.add_argument("--calls", type=int, default=100, help="how many calls are timed at a time")
    arguments = parser.parse_args()
    if arguments.level is not None:
        os.environ["TVM_TENSORRT_BUILDER_LEVEL"] = str(arguments.level)
    engine = choose_engine(Settings.from_environment()).name
    rows = [row for row in ROWS if row.name in arguments.rows or row is ROWS[0]]
    for row in [row for row in rows if row.variables and engine != "tensorrt"]:
        measure.say(f"{row.name}: skipped, the engine is {engine}")
        rows.remove(row)
    results: Dict[str, Any] = {"engine": engine}
    failed: List[str] = []
    for name in arguments.models:
        measure.console.rule(name)
        found = results[name] = {}
        with tempfile.TemporaryDirectory() as folder:
            model = trained(name, arguments.image_size)
            bench = Bench(model, engine, Path(folder), arguments.rounds, arguments.calls)
            measure_rows(bench, rows, found, lambda: measure.write(arguments, "precision", results))
        made = [(row, values) for row, values in found.items() if "seconds" in values]
        measure.table(f"{name}, batch 1", COLUMNS, [(row, *cells(values)) for row, values in made])
        failed += [f"{row} of {name}: {values['failed']}" for row, values in found.items() if "failed" in values]
    if failed:
        raise SystemExit("\n".join(["failed:", *failed]))


if __name__ == "__main__":
    main()
