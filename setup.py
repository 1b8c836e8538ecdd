"""Builds relay_trt: what config.cmake asks for, and nothing of TVM."""

import os
import platform
import re
import runpy
import shutil
import sys
from pathlib import Path
from typing import Dict, List, Union

from setuptools import Extension, find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
CONFIG_FILE = ROOT / "config.cmake"

# The values of config.cmake's switches: True and False for ON and OFF, or the path of a TensorRT.
Config = Dict[str, Union[bool, str]]
DEFAULTS: Config = {"USE_TENSORRT_CODEGEN": True, "USE_TENSORRT_RUNTIME": True}
ACCEPTED = {
    "USE_TENSORRT_CODEGEN": "ON or OFF",
    "USE_TENSORRT_RUNTIME": "ON, OFF or the absolute path of an unpacked TensorRT",
}

# What OFF leaves out: the packages, and what an import of them then answers.
PARTS = {
    "USE_TENSORRT_CODEGEN": (
        ["relay_trt.annotation", "relay_trt.codegen"],
        "relay_trt was built without its compiler (USE_TENSORRT_CODEGEN OFF in config.cmake): it only runs what "
        "another machine compiled. To compile here, set the switch to ON and install relay_trt again.",
    ),
    "USE_TENSORRT_RUNTIME": (
        ["relay_trt.runtime"],
        "relay_trt was built without its runtime (USE_TENSORRT_RUNTIME OFF in config.cmake): it only compiles. "
        "To run modules here, set the switch to ON or to the path of a TensorRT and install relay_trt again.",
    ),
}

# The libraries that TensorRT's Python package is linked to; libnvparsers left with TensorRT 10.
LIBRARIES = ["libnvinfer", "libnvinfer_plugin", "libnvparsers", "libnvonnxparser"]

# relay_trt/build_config.py in the wheel; the one of a checkout holds the defaults.
RECORD = '''"""What config.cmake said when relay_trt was built; setup.py writes this file into the wheel."""

from typing import Union

USE_TENSORRT_CODEGEN: bool = {USE_TENSORRT_CODEGEN!r}
USE_TENSORRT_RUNTIME: Union[bool, str] = {USE_TENSORRT_RUNTIME!r}
'''

LINE = re.compile(
    r"""
    \s*
    (?: set \( \s* (?P<name>\w+) \s+ (?: "(?P<quoted>[^"]*)" | (?P<plain>[^\s"()#]+) ) \s* \) \s* )?
    (?: \# .* )?
    """,
    re.VERBOSE | re.IGNORECASE,
)

# TVM is no requirement: relay_trt plugs into the TVM that the user has, most often built from source, and
# pip would take the registry's apache-tvm for it, which has no Relay. tools/install_tvm.py installs one.
# The tests passed on Python 3.8 with the oldest of each that is accepted here.
CODEGEN_REQUIREMENTS = ["rich>=12"]  # the tables of partition reports
RUNTIME_REQUIREMENTS = [
    "onnx>=1.13",  # the CPU engine, this and the next
    "onnxruntime>=1.17",  # 1.16 fails to sum over nothing
    "filelock>=3.12",  # the cache of engines
    "tqdm>=4.58",  # the progress of a build; that release learned to wait before it shows a bar
]
CUDA_PYTHON = "cuda-python>=11.8"  # the CUDA of TensorRT 8.5

# The networks of the tests and the benchmarks come from there, too.
MXNET = [
    "mxnet==1.9.1",  # the last release
    "numpy<1.24",  # mxnet uses numpy.bool, which 1.24 removed
]

EXTRAS = {
    # 8.5 is the oldest TensorRT with named tensors, 11 the newest that the runtime knows.
    "tensorrt": ["tensorrt>=8.5,<12", CUDA_PYTHON],
    # The front ends of TVM. from_pytorch is checked with torch 2.13.0.
    "torch": ["torch"],
    "mxnet": MXNET,
    "onnx": ["onnx>=1.13,<1.17"],  # from_onnx imports onnx.mapping, which 1.16 still has
    # benchmarks/ compares with PyTorch where some Python has it.
    "benchmarks": [*MXNET, "matplotlib>=3.7"],  # the first with legends outside of all panels
    "tests": [
        "hypothesis",
        "mypy",
        "pytest",
        "pytest-timeout",
        "pytest-xdist",
        "ruff",
        "setuptools>=64",  # the tests of this file build without isolation, which wants these two installed
        "wheel",
    ],
}


def read_config(file: Path) -> Config:
    """The switches of ``file``; what it does not set has its default."""
    config = dict(DEFAULTS)
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        match = LINE.fullmatch(line)
        if not match:
            sys.exit(f'{file}:{number}: cannot read {line.strip()!r}; a line is "set(<switch> <value>)" or a comment')
        name, value = match["name"], match["plain"] or match["quoted"]
        if name is None:
            continue
        if name not in ACCEPTED:
            sys.exit(f"{file}:{number}: there is no switch {name}; accepted are {' and '.join(ACCEPTED)}")
        if value in ("ON", "OFF"):
            config[name] = value == "ON"
        elif name == "USE_TENSORRT_RUNTIME" and os.path.isabs(value):
            config[name] = value
        else:
            sys.exit(f"{file}:{number}: {name} cannot be {value!r}; accepted are {ACCEPTED[name]}")
    if not any(config.values()):
        sys.exit(f"{file}: {' and '.join(config)} are both OFF, which leaves nothing to build; set one of them to ON")
    return config


def tensorrt_wheel(tensorrt: Path) -> Path:
    """The Python package, for the Python that runs this, of an unpacked TensorRT."""
    pattern = f"tensorrt-*-cp{sys.version_info.major}{sys.version_info.minor}-*_{platform.machine()}.whl"
    wheels = sorted(tensorrt.glob(f"python/{pattern}"))
    if not wheels:
        others = ", ".join(sorted(wheel.name for wheel in tensorrt.glob("python/tensorrt-*.whl")))
        sys.exit(
            f"{CONFIG_FILE}: USE_TENSORRT_RUNTIME is {tensorrt}, but that has no python/{pattern}, "
            f"the package for this Python; it has {others or 'none'}"
        )
    return wheels[-1]


def tensorrt_libraries(tensorrt: Path) -> Extension:
    """A library without code, linked to the libraries of an unpacked TensorRT: to load it loads those.

    The path of their folder is an rpath, not a runpath: only that is searched for what they in turn open
    by name. libnvinfer so opens its builder resources, and has had no path of its own since TensorRT 8.4.
    """
    folder = tensorrt / "lib"
    if not any(folder.glob("libnvinfer.so*")):
        sys.exit(
            f"{CONFIG_FILE}: USE_TENSORRT_RUNTIME is {tensorrt}, but that has no lib/libnvinfer.so*; "
            "accepted is the folder to which TensorRT's tar file unpacks"
        )
    # libnvinfer.so, .so.8 and .so.8.6.1 are one library; an installation may lack some of the names.
    libraries = [str(library) for name in LIBRARIES for library in sorted(folder.glob(f"{name}.so*"))[:1]]
    options = ["--disable-new-dtags", "-rpath", str(folder), "--no-as-needed"]
    return Extension(
        "relay_trt.runtime._libraries",
        sources=[],
        extra_link_args=[*(argument for option in options for argument in ("-Xlinker", option)), *libraries],
    )


CONFIG = read_config(CONFIG_FILE)
TENSORRT = Path(CONFIG["USE_TENSORRT_RUNTIME"]) if isinstance(CONFIG["USE_TENSORRT_RUNTIME"], str) else None
LEFT_OUT = {name: reason for switch, (names, reason) in PARTS.items() if not CONFIG[switch] for name in names}
COMMANDS = ["relay-trt-cache = relay_trt.runtime.cache_command:main"] if CONFIG["USE_TENSORRT_RUNTIME"] else []
EXTENSIONS = [tensorrt_libraries(TENSORRT)] if TENSORRT else []
REQUIREMENTS = [
    "numpy",
    *(CODEGEN_REQUIREMENTS if CONFIG["USE_TENSORRT_CODEGEN"] else []),
    *(RUNTIME_REQUIREMENTS if CONFIG["USE_TENSORRT_RUNTIME"] else []),
    *([f"tensorrt @ {tensorrt_wheel(TENSORRT).as_uri()}", CUDA_PYTHON] if TENSORRT else []),
]


class BuildPy(build_py):
    """Copies the packages that are built, and records what was."""

    def finalize_options(self) -> None:
        super().finalize_options()
        if self.editable_mode and CONFIG != DEFAULTS:
            sys.exit(f"{CONFIG_FILE}: an editable install is the whole checkout, both parts; use `pip install .`")

    def get_source_files(self) -> List[str]:
        return [*super().get_source_files(), CONFIG_FILE.name]  # for source distributions

    def run(self) -> None:
        package = Path(self.build_lib, "relay_trt")
        # An earlier build may have left there what is now left out.
        shutil.rmtree(package, ignore_errors=True)
        super().run()
        if not self.editable_mode:
            self.record(package)

    def record(self, package: Path) -> None:
        """Write build_config.py, and a refusal in place of each package that is left out."""
        (package / "build_config.py").write_text(RECORD.format(**CONFIG), encoding="utf-8")
        for name, reason in LEFT_OUT.items():
            refusal = Path(self.build_lib, *name.split("."), "__init__.py")
            refusal.parent.mkdir()
            refusal.write_text(f'"""Left out of this build."""\n\nraise ImportError({reason!r})\n', encoding="utf-8")


setup(
    name="relay_trt",
    version=runpy.run_path(str(ROOT / "relay_trt" / "version.py"))["__version__"],
    description="TensorRT for Apache TVM's Relay, as a plugin for a stock TVM",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    classifiers=[
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
    ],
    python_requires=">=3.8",
    packages=find_packages(
        include=["relay_trt", "relay_trt.*"],
        exclude=[pattern for package in LEFT_OUT for pattern in (package, f"{package}.*")],
    ),
    package_data={"relay_trt.codegen": ["*.c"]},
    ext_modules=EXTENSIONS,
    install_requires=REQUIREMENTS,
    extras_require=EXTRAS,
    entry_points={"console_scripts": COMMANDS},
    cmdclass={"build_py": BuildPy},
)
