"""The switches of config.cmake: what each combination builds, what it leaves out, and what it refuses."""

import os
import platform
import shutil
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
PYTHON_TAG = f"cp{sys.version_info.major}{sys.version_info.minor}"


@pytest.fixture
def source(tmp_path):
    """A copy of the package's source, to configure and build in."""
    folder = tmp_path / "source"
    shutil.copytree(CHECKOUT / "relay_trt", folder / "relay_trt", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ["README.md", "config.cmake", "pyproject.toml", "setup.py"]:
        shutil.copy(CHECKOUT / name, folder)
    return folder


def configure(source, codegen="ON", runtime="ON"):
    config = f"set(USE_TENSORRT_CODEGEN {codegen})\nset(USE_TENSORRT_RUNTIME {runtime})\n"
    (source / "config.cmake").write_text(config)


def pip(*arguments):
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def install(source, target):
    """Build a wheel of ``source`` and install it into the folder ``target``."""
    result = pip(
        "install", "--no-deps", "--no-build-isolation", "--no-index", "--no-compile", "--target", target, source
    )
    assert result.returncode == 0, result.stderr
    return target


def run(target, code):
    """Run ``code`` where relay_trt is what was installed into ``target``."""
    path = os.pathsep.join([str(target), *filter(None, [os.environ.get("PYTHONPATH")])])
    code = f"import relay_trt\nassert relay_trt.__file__.startswith({str(target)!r}), relay_trt.__file__\n{code}"
    command = [sys.executable, "-c", code]
    # Away from the checkout: Python puts the working directory in front of its path.
    return subprocess.run(command, capture_output=True, text=True, cwd=target, env={**os.environ, "PYTHONPATH": path})


def requirements(target):
    metadata = next(target.glob("relay_trt-*.dist-info/METADATA")).read_text()
    return [line for line in Parser().parsestr(metadata).get_all("Requires-Dist") if "extra ==" not in line]


def assert_works(target, code):
    result = run(target, code)
    assert result.returncode == 0, result.stderr


def assert_refuses(target, code, *reasons):
    result = run(target, code)
    assert result.returncode != 0, result.stdout
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: relay_trt was built without"), result.stderr
    for reason in reasons:
        assert reason in last


def files(root, package):
    found = (path for path in (root / "relay_trt" / package).rglob("*") if path.is_file())
    return sorted(str(path.relative_to(root)) for path in found if path.parent.name != "__pycache__")


def test_both_parts(source, tmp_path):
    target = install(source, tmp_path / "target")
    assert_works(target, "import relay_trt.codegen, relay_trt.runtime\nfrom relay_trt import partition_for_tensorrt")
    for package in ["annotation", "codegen", "runtime"]:
        assert files(target, package) == files(source, package)
    names = {requirement.split(">")[0].split()[0] for requirement in requirements(target)}
    assert names == {"filelock", "numpy", "onnx", "onnxruntime", "rich", "tqdm"}
    # The file of a checkout is what a build with the defaults writes.
    record = Path("relay_trt", "build_config.py")
    assert (target / record).read_text() == (CHECKOUT / record).read_text()


COMPILE = """
import numpy, tvm
from tvm import relay
x = relay.var("x", shape=(1, 3, 8, 8))
mod = tvm.IRModule.from_expr(relay.nn.relu(relay.nn.conv2d(x, relay.const(numpy.ones((4, 3, 3, 3), "float32")))))
mod, config = relay_trt.partition_for_tensorrt(mod)
with tvm.transform.PassContext(opt_level=3):
    relay.build(mod, target="llvm").export_library({library!r})
"""
RUN = """
import numpy, tvm
import relay_trt.runtime
from tvm.contrib import graph_executor
module = graph_executor.GraphModule(tvm.runtime.load_module({library!r})["default"](tvm.cpu()))
module.run(x=numpy.ones((1, 3, 8, 8), "float32"))
numpy.testing.assert_array_equal(module.get_output(0).numpy(), numpy.full((1, 4, 6, 6), 27, "float32"))
"""


def test_one_host_compiles_and_another_runs(source, tmp_path):
    library = str(tmp_path / "compiled.so")
    # An earlier build with both parts leaves its modules here; they must not come along.
    stale = source / "build" / "lib" / "relay_trt"
    shutil.copytree(source / "relay_trt", stale)

    configure(source, runtime="OFF")
    host = install(source, tmp_path / "host")
    assert_works(host, COMPILE.format(library=library))
    assert files(host, "runtime") == ["relay_trt/runtime/__init__.py"]
    for code in ["import relay_trt.runtime", "import relay_trt.runtime.module", "relay_trt.get_tensorrt_version()"]:
        assert_refuses(host, code, "its runtime", "USE_TENSORRT_RUNTIME OFF in config.cmake")
    assert not any(requirement.startswith("onnx") for requirement in requirements(host))

    configure(source, codegen="OFF")
    device = install(source, tmp_path / "device")
    assert_works(device, RUN.format(library=library))
    for package in ["annotation", "codegen"]:
        assert files(device, package) == [f"relay_trt/{package}/__init__.py"]
    for code in ["import relay_trt.annotation", "import relay_trt.codegen", "relay_trt.partition_for_tensorrt(None)"]:
        assert_refuses(device, code, "its compiler", "USE_TENSORRT_CODEGEN OFF in config.cmake")
    assert not any(requirement.startswith("rich") for requirement in requirements(device))


@pytest.fixture
def tensorrt(tmp_path):
    """An unpacked TensorRT with nothing in it but how its parts find each other."""
    folder = tmp_path / "TensorRT 8.6.1"
    for name, soname, code in [
        # TensorRT opens its builder resources by name, when it first builds an engine.
        (
            "libnvinfer.so.8",
            "libnvinfer.so.8",
            "#include <dlfcn.h>\n"
            'int has_resources() { return dlopen("libnvinfer_builder_resource.so.8.6.1", RTLD_LAZY) != 0; }',
        ),
        ("libnvinfer_plugin.so.8", "libnvinfer_plugin.so.8", "int plugin;"),
        ("libnvinfer_builder_resource.so.8.6.1", "do_not_link_against_this", "int resources;"),
    ]:
        library = folder / "lib" / name
        library.parent.mkdir(parents=True, exist_ok=True)
        command = ["cc", "-shared", "-fPIC", f"-Wl,-soname,{soname}", "-o", str(library), "-x", "c", "-", "-ldl"]
        subprocess.run(command, input=code, text=True, check=True)
    wheel = folder / "python" / f"tensorrt-8.6.1-{PYTHON_TAG}-none-linux_{platform.machine()}.whl"
    wheel.parent.mkdir()
    with zipfile.ZipFile(wheel, "w") as archive:
        metadata = "tensorrt-8.6.1.dist-info/"
        archive.writestr(metadata + "METADATA", "Metadata-Version: 2.1\nName: tensorrt\nVersion: 8.6.1\n")
        tag = wheel.stem.split("-", 2)[2]
        archive.writestr(metadata + "WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n")
        archive.writestr(metadata + "RECORD", "")
        # The real package is linked to libnvinfer.so.8, which must be in the process, or on the system.
        code = 'import ctypes\n\n__version__ = "8.6.1"\nhas_resources = ctypes.CDLL("libnvinfer.so.8").has_resources\n'
        archive.writestr("tensorrt/__init__.py", code)
    return folder


LOAD_TENSORRT = """
from relay_trt.runtime.tensorrt_library import load_tensorrt
tensorrt = load_tensorrt()
assert tensorrt.__file__.startswith({target!r}), tensorrt.__file__
assert tensorrt.has_resources()
libraries = [line.split(maxsplit=5)[5].strip() for line in open("/proc/self/maps") if "libnvinfer" in line]
assert set(libraries) == set({libraries!r}), libraries
"""


def test_runtime_for_an_unpacked_tensorrt(source, tensorrt, tmp_path):
    configure(source, runtime=f'"{tensorrt}"')
    target = install(source, tmp_path / "target")
    (requirement,) = [line for line in requirements(target) if line.startswith("tensorrt")]
    assert requirement == f"tensorrt @ {next(tensorrt.glob('python/*.whl')).as_uri()}"
    result = pip("install", "--no-deps", "--no-index", "--target", target, requirement)
    assert result.returncode == 0, result.stderr
    libraries = [str(library) for library in tensorrt.glob("lib/*")]
    assert_works(target, LOAD_TENSORRT.format(target=str(target), libraries=libraries))

    (tensorrt / "lib" / "libnvinfer.so.8").unlink()
    result = run(target, "from relay_trt.runtime.tensorrt_library import load_tensorrt\nload_tensorrt()")
    assert "TensorRTUnavailable: the libraries of" in result.stderr
    assert "libnvinfer.so.8: cannot open shared object file" in result.stderr


def assert_setup_refuses(source, *reasons, arguments=("setup.py", "--version")):
    command = [sys.executable, *arguments]
    result = subprocess.run(command, capture_output=True, text=True, cwd=source)
    assert result.returncode != 0, result.stdout
    for reason in reasons:
        assert reason in result.stderr.strip().splitlines()[-1], result.stderr


@pytest.mark.parametrize(
    "line, reason",
    [
        ("set(USE_TENSORRT_RUNTIME", "cannot read 'set(USE_TENSORRT_RUNTIME'"),
        ("set(USE_TENSORRT_RUNTIME)", "cannot read"),
        ("USE_TENSORRT_RUNTIME=ON", "cannot read"),
        ("set(USE_TENSORRT_RUNTIME ON OFF)", "cannot read"),
        ("set(USE_TENSORT ON)", "no switch USE_TENSORT; accepted are USE_TENSORRT_CODEGEN and USE_TENSORRT_RUNTIME"),
        ("set(USE_TENSORRT_CODEGEN /opt/TensorRT)", "cannot be '/opt/TensorRT'; accepted are ON or OFF"),
        ("set(USE_TENSORRT_RUNTIME maybe)", "accepted are ON, OFF or the absolute path of an unpacked TensorRT"),
        ('set(USE_TENSORRT_RUNTIME "")', "cannot be ''"),
    ],
)
def test_malformed_config(source, line, reason):
    (source / "config.cmake").write_text(f"# A comment\n\nset(USE_TENSORRT_CODEGEN ON)  # another\n{line}\n")
    assert_setup_refuses(source, "config.cmake:4: ", reason)


def test_nothing_to_build(source):
    configure(source, codegen="OFF", runtime="OFF")
    assert_setup_refuses(source, "config.cmake", "USE_TENSORRT_CODEGEN and USE_TENSORRT_RUNTIME are both OFF")


def test_no_tensorrt_there(source, tensorrt):
    configure(source, runtime=f'"{tensorrt}"')
    wheel = next(tensorrt.glob("python/*.whl"))
    wheel.rename(wheel.with_name("tensorrt-8.6.1-cp27-none-linux_x86_64.whl"))
    assert_setup_refuses(
        source, str(tensorrt), f"no python/tensorrt-*-{PYTHON_TAG}-", "tensorrt-8.6.1-cp27-none-linux_x86_64.whl"
    )
    shutil.rmtree(tensorrt / "lib")
    wheel.with_name("tensorrt-8.6.1-cp27-none-linux_x86_64.whl").rename(wheel)
    assert_setup_refuses(source, str(tensorrt), "no lib/libnvinfer.so*")


def test_editable_install_of_one_part(source):
    configure(source, codegen="OFF")
    build = ("-c", "from setuptools import build_meta; build_meta.build_editable('.')")
    assert_setup_refuses(source, "an editable install is the whole checkout", arguments=build)
