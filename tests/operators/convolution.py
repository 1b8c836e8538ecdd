"""Cases of convolutions and transposed convolutions."""

from __future__ import annotations

import dataclasses
from typing import Any, Dict, List, Sequence, Tuple

from hypothesis import strategies as st
from tvm import relay

from ..support import random
from .case import EXPLICIT, IMAGE, Case, Draw, Refused, constant, strategy


@dataclasses.dataclass(frozen=True)
class Convolution:
    """One convolution: its channels and sizes, whatever the layouts, and its attributes.

    ``named`` gives it the attributes channels and kernel_size; ``multiplied`` makes a depthwise kernel one of
    (C, multiplier, spatial...).
    """

    op: str
    size: Sequence[int]
    window: Sequence[int]
    channels: int = 4
    filters: int = 6
    batch: int = 2
    named: bool = True
    multiplied: bool = False
    attrs: Dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def spatial(self) -> str:
        return "DHW"[-len(self.size) :]

    @property
    def transposed(self) -> bool:
        return self.op.endswith("_transpose")

    @property
    def plain(self) -> Dict[str, Any]:
        """The attributes of the convolution that all others come down to."""
        n = len(self.size)
        attrs = {
            "strides": [1] * n,
            "padding": [0] * n * 2,
            "dilation": [1] * n,
            "groups": 1,
            "channels": None,
            "kernel_size": None,
            "data_layout": f"NC{self.spatial}",
            "kernel_layout": ("IO" if self.transposed else "OI") + self.spatial,
            "out_layout": "",
        }
        return {**attrs, "output_padding": [0] * n} if self.transposed else attrs

    @property
    def all_attrs(self) -> Dict[str, Any]:
        names = {"channels": self.filters, "kernel_size": list(self.window)} if self.named else {}
        return {**self.plain, **names, **self.attrs}

    @property
    def padding(self) -> Tuple[List[int], List[int]]:
        numbers, n = self.all_attrs["padding"], len(self.size)
        numbers = numbers * n if len(numbers) == 1 and n > 1 else numbers
        return numbers[:n], numbers[-n:]

    @property
    def shape(self) -> Tuple[int, ...]:
        sizes = dict(zip("NC" + self.spatial, (self.batch, self.channels, *self.size)))
        return tuple(sizes[letter] for letter in self.all_attrs["data_layout"])

    @property
    def kernel_shape(self) -> Tuple[int, ...]:
        groups = self.all_attrs["groups"]
        o, i = (self.filters // groups, self.channels) if self.transposed else (self.filters, self.channels // groups)
        if self.multiplied:
            o, i = groups, self.filters // groups
        sizes = dict(zip("OI" + self.spatial, (o, i, *self.window)))
        return tuple(sizes[letter] for letter in self.all_attrs["kernel_layout"])

    @property
    def in_tvm(self) -> bool:
        """Whether TVM's LLVM code computes it."""
        attrs, plain = self.all_attrs, self.plain
        differing = {name for name in plain if attrs[name] != plain[name] and name != "padding"}
        computed = {"strides", "channels", "kernel_size"}
        computed |= {"output_padding", "groups"} if self.transposed else {"dilation"}
        return (
            len(attrs["padding"]) == 2 * len(self.size)
            and (differing <= computed)
            and (not self.transposed or all(a < b for a, b in zip(attrs["output_padding"], attrs["strides"])))
            and not ("groups" in differing and len(self.size) == 3)
        )

    def build(self, x: relay.Expr, kernel: relay.Expr) -> relay.Expr:
        """Not by relay.nn's functions, which complete the padding."""
        make = getattr(relay.op.nn._make, self.op[len("nn.") :])
        return make(x, kernel, *self.all_attrs.values(), "")

    def reference(self, x: relay.Expr, kernel: relay.Expr) -> relay.Expr:
        """The same by plain convolutions, one for each group."""
        attrs, plain = self.all_attrs, self.plain
        x = permuted(x, attrs["data_layout"], plain["data_layout"])
        kernel = permuted(kernel, attrs["kernel_layout"], plain["kernel_layout"])
        if self.multiplied:
            kernel = relay.reshape(kernel, (self.filters, 1, *self.window))
        images, kernels = (relay.split(whole, attrs["groups"], axis) for whole, axis in ((x, 1), (kernel, 0)))
        convolve = self._transposed_group if self.transposed else self._group
        result = relay.concatenate([convolve(*operands) for operands in zip(images, kernels)], axis=1)
        return permuted(result, plain["data_layout"], attrs["out_layout"] or attrs["data_layout"])

    def _group(self, x: relay.Expr, kernel: relay.Expr) -> relay.Expr:
        attrs = self.all_attrs
        given = {"strides": attrs["strides"], "padding": [*self.padding[0], *self.padding[1]]}
        return dataclasses.replace(self, named=False, attrs={**given, "dilation": attrs["dilation"]}).build(x, kernel)

    def _transposed_group(self, x: relay.Expr, kernel: relay.Expr) -> relay.Expr:
        """All of it, zeros behind, and of that what padding leaves."""
        attrs, n = self.all_attrs, len(self.size)
        dilated = relay.nn.dilate(kernel, [1, 1, *attrs["dilation"]])
        extent = [(size - 1) * dilation + 1 for size, dilation in zip(self.window, attrs["dilation"])]
        # Relay's types are wrong for some kernels whose sides differ, unless their sizes are given.
        given = {"strides": attrs["strides"], "channels": self.filters // attrs["groups"], "kernel_size": extent}
        whole = dataclasses.replace(self, named=False, attrs=given).build(x, dilated)
        whole = relay.nn.pad(whole, [(0, 0), (0, 0), *((0, zeros) for zeros in attrs["output_padding"])])
        sides = zip(self.size, extent, attrs["strides"], attrs["output_padding"])
        sizes = [(size - 1) * stride + window + zeros for size, window, stride, zeros in sides]
        before, after = self.padding
        ends = [size - a for size, a in zip(sizes, after)]
        return relay.strided_slice(whole, before, ends, [1] * n, axes=list(range(2, 2 + n)))

    def case(self, name: str, constants: str = "kernel") -> Case:
        """A case in which ``constants`` is the constant operand: "kernel", "image" or neither."""
        shape, kernel_shape = self.shape, self.kernel_shape
        shapes = {"kernel": (shape,), "image": (kernel_shape,)}.get(constants, (shape, kernel_shape))

        def operands(*variables: relay.Var) -> Sequence[relay.Expr]:
            if constants == "kernel":
                return variables[0], constant(variables[0], *kernel_shape)
            return variables if len(variables) == 2 else (constant(variables[0], *shape), variables[0])

        layouts = self.all_attrs["data_layout"][0] + (self.all_attrs["out_layout"] or "N")[0]
        return Case(
            self.op,
            name,
            lambda *variables: self.build(*operands(*variables)),
            shapes,
            options={} if layouts == "NN" and constants == "kernel" else EXPLICIT,
            same_as=None if self.in_tvm else lambda *variables: self.reference(*operands(*variables)),
        )


def permuted(x: relay.Expr, layout: str, letters: str) -> relay.Expr:
    return relay.transpose(x, [layout.index(letter) for letter in letters])


def any_dimensions(op: str, *size: int) -> List[Case]:
    n = len(size)
    spatial = "DHW"[-n:]

    def case(name: str, window: Sequence[int] = (3,) * n, constants: str = "kernel", **given: Any) -> Case:
        fields = {field: given.pop(field) for field in ("channels", "filters", "named", "multiplied") if field in given}
        return Convolution(op, size, window, attrs=given, **fields).case(name, constants)

    return [
        case("window of 3"),
        case("window of 1", (1,) * n),
        case("no named channels", named=False),
        case("strides", strides=[2, 3, 1][:n]),
        # Relay's types want two of convolutions over one dimension.
        *([case("padding of one number", padding=[1])] if n > 1 else []),
        *([case("padding of a number for each dimension", padding=[1, 2, 0][:n])] if n > 1 else []),
        case("asymmetric padding", padding=[0, 2, 1, 1, 0, 2][: 2 * n]),
        case("dilation", (2,) * n, dilation=[3, 2, 2][:n]),
        case("groups", groups=2, padding=[1] * n * 2),
        case("groups of one channel", groups=4, filters=8),
        case(
            "all at once",
            [2, 3, 2][:n],
            groups=2,
            strides=[2, 1, 3][:n],
            padding=[0, 1, 2, 1, 1, 0][: 2 * n],
            dilation=[2, 1, 1][:n],
        ),
        case("channels last", data_layout=f"N{spatial}C", kernel_layout=f"{spatial}IO", strides=[2] * n),
        case("channels last, groups", data_layout=f"N{spatial}C", kernel_layout=f"{spatial}OI", groups=2),
        case("batch last", data_layout=f"C{spatial}N", kernel_layout=f"I{spatial}O"),
        case("another output layout", out_layout=f"N{spatial}C", strides=[2] * n),
        case("output channels first", out_layout=f"C{spatial}N"),
        case("spatial dimensions reversed", data_layout=f"NC{spatial[::-1]}", kernel_layout=f"IO{spatial[::-1]}"),
        # Large weights are given to an engine apart from the network.
        case("large weights", channels=16, filters=24, data_layout=f"N{spatial}C", kernel_layout=f"{spatial}IO"),
    ]


def convolutions(op: str, *size: int) -> List[Case]:
    n = len(size)
    spatial, window = "DHW"[-n:], [3] * n
    last = {"data_layout": f"N{spatial}C", "kernel_layout": f"{spatial}IO"}
    return [
        *any_dimensions(op, *size),
        Convolution(op, size, size).case("kernel as large as x"),
        Convolution(op, size, window, attrs={"padding": [4] * n * 2}).case("padding above the kernel"),
        Convolution(op, size, window, attrs={"padding": [1] * n * 2}).case("kernel as input", "neither"),
        Convolution(op, size, window, attrs={"groups": 2, **last}).case("kernel as input, layouts, groups", "neither"),
        Convolution(op, size, window).case("constant image", "image"),
    ]


def multiplied(op: str, *size: int) -> List[Case]:
    """Depthwise kernels that have the filters of each channel as a dimension of their own."""
    window = [3] * len(size)
    spatial = "DHW"[-len(size) :]
    depthwise = Convolution(op, size, window, filters=8, multiplied=True, attrs={"groups": 4})
    last = {"groups": 4, "data_layout": f"N{spatial}C", "kernel_layout": f"{spatial}OI"}
    return [
        depthwise.case("(C, multiplier) filters"),
        depthwise.case("(C, multiplier) filters as input", "neither"),
        dataclasses.replace(depthwise, attrs=last).case("(C, multiplier) filters, channels last"),
    ]


def transposed(op: str, *size: int) -> List[Case]:
    n = len(size)

    def case(name: str, window: Sequence[int] = (3,) * n, **attrs: Any) -> Case:
        return Convolution(op, size, window, attrs=attrs).case(name)

    return [
        *any_dimensions(op, *size),
        case("output padding", strides=[2] * n, padding=[1] * n * 2, output_padding=[1] * n),
        case("output padding above the padding", strides=[3] * n, output_padding=[2] * n),
        case("output padding with dilation", dilation=[2] * n, strides=[4] * n, output_padding=[3, 2, 1][:n]),
        case("output padding above the strides", (1,) * n, output_padding=[2] * n, padding=[1] * n * 2),
        case("padding above the kernel", (1,) * n, strides=[2] * n, padding=[1] * n * 2),
        case("overlapping windows", (4,) * n, strides=[2] * n, padding=[1] * n * 2),
        case("gaps between windows", (2,) * n, strides=[3] * n),
        Convolution(op, size, (3,) * n, channels=6, filters=6, attrs={"strides": [2] * n}).case("equal channels"),
    ]


CASES = [
    *convolutions("nn.conv1d", 9),
    *convolutions("nn.conv2d", 7, 6),
    *convolutions("nn.conv3d", 5, 4, 6),
    *multiplied("nn.conv2d", 7, 6),
    *multiplied("nn.conv3d", 5, 4, 6),
    *transposed("nn.conv1d_transpose", 5),
    *transposed("nn.conv2d_transpose", 4, 5),
    *transposed("nn.conv3d_transpose", 3, 4, 2),
]


def conv2d(x: relay.Var, *kernel: int, **attrs: Any) -> relay.Expr:
    return relay.nn.conv2d(x, constant(x, *kernel), **attrs)


def conv2d_transpose(x: relay.Var, *kernel: int, **attrs: Any) -> relay.Expr:
    return relay.nn.conv2d_transpose(x, constant(x, *kernel), **attrs)


REFUSED = [
    Refused("nn.conv2d", lambda x: conv2d(x, 2, 3, 3, 3, padding=(1, -1)), IMAGE, "engines cannot crop"),
    Refused(
        "nn.conv2d",
        lambda x: conv2d(x, 2, 3, 3, 3, dilation=4, padding=(0, 1)),
        ((1, 3, 6, 8),),
        "the window [9, 9] is larger than the padded input [6, 10]",
    ),
    Refused(
        "nn.conv2d",
        lambda x: relay.nn.conv2d(x, relay.const(random((2, 3, 3, 3), "float16"))),
        IMAGE,
        "the operands are float32 and float16",
    ),
    Refused(
        "nn.conv2d",
        lambda x: conv2d(x, 2, 3, 3, 3, out_dtype="float16"),
        IMAGE,
        "out_dtype float16 differs from the operands' float32",
    ),
    Refused(
        "nn.conv2d",
        lambda x: conv2d(x, 4, 4, 3, 3, 4, kernel_layout="OIHW4i"),
        ((1, 16, 6, 6),),
        "kernel_layout OIHW4i: it must be a permutation of OIHW",
    ),
    Refused(
        "nn.conv1d",
        lambda x: relay.nn.conv1d(x, constant(x, 1, 4, 3), groups=2),
        ((1, 4, 9),),
        "the kernel float32[1, 4, 3] does not take 4 channels to 1 in 2 group(s)",
    ),
    Refused("nn.conv2d_transpose", relay.nn.conv2d_transpose, ((1, 3, 5, 5), (3, 2, 3, 3)), "must be a constant"),
    Refused(
        "nn.conv2d_transpose",
        lambda x: conv2d_transpose(x, 3, 2, 3, 3, padding=(-1, 0)),
        IMAGE,
        "engines only cut off",
    ),
    # Relay's types forget the groups where the number of channels is not given.
    Refused(
        "nn.conv2d_transpose",
        lambda x: conv2d_transpose(x, 4, 3, 3, 3, groups=2),
        ((1, 4, 5, 5),),
        "the kernel float32[4, 3, 3, 3] does not take 4 channels to 3 in 2 group(s)",
    ),
    Refused(
        "nn.conv2d_transpose",
        lambda x: conv2d_transpose(x, 3, 3, 3, 3, kernel_layout="OIHW"),
        IMAGE,
        "releases of TVM differ",
    ),
    Refused(
        "nn.conv1d_transpose",
        lambda x: relay.nn.conv1d_transpose(x, constant(x, 3, 3, 1), padding=(1, 1)),
        ((1, 3, 1),),
        "only the first dimension may be dynamic",  # as Relay's own types say where a size is below 0
    ),
    Refused(
        "nn.conv1d_transpose",
        lambda x: relay.nn.conv1d_transpose(x, constant(x, 3, 3, 1), padding=(1, 1), out_layout="WNC"),
        ((1, 3, 1),),
        "the result would have the sizes [-1]",
    ),
    # Relay's types mistake the kernel's sides for each other where kernel_size is not given.
    Refused(
        "nn.conv3d_transpose",
        lambda x: relay.nn.conv3d_transpose(x, constant(x, 3, 2, 3, 2, 1)),
        ((1, 3, 4, 4, 4),),
        "the result would have the sizes [6, 5, 4], and Relay infers",
    ),
]


@strategy("nn.conv1d", "nn.conv2d", "nn.conv3d", "nn.conv1d_transpose", "nn.conv2d_transpose", "nn.conv3d_transpose")
def any_convolution(draw: Draw, op: str) -> Case:
    n = int(op[len("nn.conv")])
    groups = draw(st.integers(1, 3))

    def numbers(low: int, high: int) -> List[int]:
        return draw(st.lists(st.integers(low, high), min_size=n, max_size=n))

    def layout(letters: str) -> str:
        # As often as not the usual one: any other takes the same way.
        return "".join(draw(st.one_of(st.just(letters + "DHW"[-n:]), st.permutations(letters + "DHW"[-n:]))))

    channels, filters = groups * draw(st.integers(1, 2)), groups * draw(st.integers(1, 2))
    paddings = st.integers(draw(st.sampled_from([0, 0, 0, -1])), 3)
    # Relay's types want two numbers of one dimension.
    count = draw(st.sampled_from([1, n, 2 * n] if n > 1 else [2]))
    attrs = {
        "strides": numbers(1, 3),
        "padding": draw(st.lists(paddings, min_size=count, max_size=count)),
        "dilation": numbers(1, 3),
        "groups": groups,
        "data_layout": layout("NC"),
        "kernel_layout": layout("IO" if op.endswith("_transpose") else "OI"),
        "out_layout": draw(st.one_of(st.just(""), st.just(layout("NC")))),
    }
    if op.endswith("_transpose"):
        attrs["output_padding"] = numbers(0, 3)
    convolution = Convolution(
        op,
        size=numbers(1, 9 if n < 3 else 5),
        window=numbers(1, 4 if n < 3 else 3),
        channels=channels,
        filters=filters,
        batch=draw(st.integers(1, 2)),
        named=draw(st.sampled_from([True, True, True, False])),
        multiplied=op in ("nn.conv2d", "nn.conv3d") and groups == channels and draw(st.booleans()),
        attrs=attrs,
    )
    return convolution.case(str(convolution), draw(st.sampled_from(["kernel", "kernel", "kernel", "image", "neither"])))
