"""Builds that take their time: what is shown of them, and what Ctrl-C does, in processes of their own."""

from __future__ import annotations

import fcntl
import logging
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable, Iterator, List, Optional

import numpy as np
import pytest
from tvm import relay

from relay_trt import partition_for_tensorrt
from relay_trt.runtime import progress as progress_module
from relay_trt.runtime.builders.tensorrt import TensorRTBuilder
from relay_trt.runtime.progress import Progress, run_build, tensorrt_monitor
from relay_trt.runtime.tensorrt_library import load_tensorrt

from ..support import compile_library, module, random


def states(progress: Progress, *events: Callable[[], Any]) -> Iterator[Any]:
    for event in events:
        event()
        yield progress.state


def test_nested_phases() -> None:
    progress = Progress()
    assert progress.state is None
    got = states(
        progress,
        lambda: progress.phase_start("build", None, 4),
        lambda: progress.step_complete("build", 0),
        lambda: progress.phase_start("time kernels", "build", 2),
        lambda: progress.step_complete("time kernels", 0),
        lambda: progress.phase_start("one kernel", "time kernels", 5),
        lambda: progress.step_complete("one kernel", 1),
        lambda: progress.phase_finish("one kernel"),
        lambda: progress.step_complete("time kernels", 1),
        lambda: progress.phase_finish("time kernels"),
        lambda: progress.step_complete("build", 1),
        lambda: progress.phase_finish("build"),
        lambda: progress.phase_start("serialize", None, 1),
    )
    assert list(got) == [
        ("build", 0.0),
        ("build", 0.25),
        ("time kernels", 0.25),
        ("time kernels", 0.375),
        ("one kernel", 0.375),
        ("one kernel", pytest.approx(0.25 * (1 + (1 + 2 / 5) / 2))),
        ("time kernels", 0.375),
        ("time kernels", 0.5),
        ("build", 0.25),
        ("build", 0.5),
        None,
        ("serialize", 0.0),
    ]


def test_what_does_not_fit_together_is_no_error() -> None:
    """TensorRT's documentation lets a phase end early; nothing of this may break a build."""
    progress = Progress()
    progress.phase_start("empty", "a phase that never started", 0)
    assert progress.state == ("empty", 0.0)
    progress.step_complete("empty", 7)
    assert progress.state == ("empty", 1.0)
    progress.step_complete("unknown", 0)
    progress.phase_finish("unknown")
    progress.phase_finish("empty")
    assert progress.state is None


def test_phases_of_several_threads() -> None:
    progress = Progress()
    progress.phase_start("all", None, 1)
    start = threading.Barrier(5)

    def work(name: str) -> None:
        start.wait()
        for _ in range(200):
            progress.phase_start(name, "all", 10)
            for step in range(10):
                progress.step_complete(name, step)
            progress.phase_finish(name)

    threads = [threading.Thread(target=work, args=(f"part {i}",)) for i in range(4)]
    for thread in threads:
        thread.start()
    start.wait()
    while any(thread.is_alive() for thread in threads):
        state = progress.state
        assert state is not None
        assert 0 <= state[1] <= 1
    assert progress.state == ("all", 0.0)


class Interface:
    """TensorRT's IProgressMonitor, as far as Python sees it: what is not overridden raises."""

    def __init__(self) -> None:
        self.initialized = True


@pytest.mark.parametrize("trt", [SimpleNamespace(IProgressMonitor=Interface), SimpleNamespace()])
def test_the_monitor(trt: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_module, "load_tensorrt", lambda: trt)
    monitor = tensorrt_monitor(Progress())
    if not hasattr(trt, "IProgressMonitor"):
        assert monitor is None
        return
    assert isinstance(monitor, Interface) and monitor.initialized  # TensorRT refuses one that is not
    monitor.phase_start("build", None, 2)
    assert monitor.step_complete("build", 0) is True
    assert monitor._progress.state == ("build", 0.5)
    monitor._progress.cancel()
    assert monitor.step_complete("build", 1) is False
    monitor.phase_finish("build")
    assert monitor._progress.state is None


@pytest.mark.gpu
class TestTensorRT:
    @pytest.fixture(autouse=True)
    def has_monitors(self) -> None:
        if not hasattr(load_tensorrt(), "IProgressMonitor"):
            pytest.skip("TensorRT has progress monitors from 9.0 on")

    @staticmethod
    def build(monitor: Any) -> Any:
        net = TensorRTBuilder()
        x = net.input("x", (1, 3, 16, 16), "float32")
        for _ in range(8):
            x = net.unary(x, "exp")
        net.output(x, "y")
        config = net.builder.create_builder_config()
        config.progress_monitor = monitor
        return net.builder.build_serialized_network(net.network, config)

    def test_it_reports(self) -> None:
        phases: List[str] = []

        def build(monitor: Any) -> Any:
            start = monitor._progress.phase_start
            monitor._progress.phase_start = lambda name, *rest: [phases.append(name), start(name, *rest)]
            return self.build(monitor)

        assert run_build("tested", lambda progress: build(tensorrt_monitor(progress))) is not None
        assert phases

    def test_it_is_cancelled(self) -> None:
        def build(monitor: Any) -> Any:
            monitor._progress.cancel()
            return self.build(monitor)

        assert run_build("tested", lambda progress: build(tensorrt_monitor(progress))) is None


def test_what_a_build_returns_and_raises() -> None:
    threads: List[threading.Thread] = []

    def build(progress: Progress) -> int:
        threads.append(threading.current_thread())
        assert not progress.cancelled
        return 7

    assert run_build("tested", build) == 7
    assert threads[0] is not threading.current_thread()
    with pytest.raises(ZeroDivisionError):
        run_build("tested", lambda progress: 1 // 0)


def test_one_build_at_a_time() -> None:
    running: List[int] = []

    def build(progress: Progress) -> None:
        running.append(1)
        time.sleep(0.01)
        assert len(running) == 1
        running.pop()

    errors: List[BaseException] = []

    def work() -> None:
        try:
            run_build("tested", build)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors


def test_a_build_that_nobody_waits_for_any_more_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    started, first, second = threading.Event(), threading.Event(), threading.Event()
    blocking = threading.Thread(target=run_build, args=("first", lambda progress: started.set() or first.wait()))
    blocking.start()
    started.wait()

    wait, main = progress_module._wait, threading.current_thread()

    def interrupt(outcomes: Any, show: Any) -> Any:
        if threading.current_thread() is main:
            raise KeyboardInterrupt
        return wait(outcomes, show)

    monkeypatch.setattr(progress_module, "_wait", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_build("second", lambda progress: second.set())
    first.set()
    blocking.join()
    for thread in threading.enumerate():
        if thread.name == "relay_trt-build second":
            thread.join()
    assert not second.is_set()


def test_the_log_says_how_it_goes(log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(progress_module, "time", SimpleNamespace(monotonic=lambda: now))
    progress = Progress()
    with progress_module._lines("tested", progress) as show:
        for second in range(200):
            now = float(second)
            if second == 25:
                progress.phase_start("time kernels", None, 4)
                progress.step_complete("time kernels", 0)
            show()
    assert {record.levelno for record in log.records} == {logging.INFO}
    assert log.messages == [
        "tested: building the engine",
        "tested: still building after 10 s",
        *(f"tested: still building after {second} s (25%, time kernels)" for second in (30, 70, 130, 190)),
    ]


def read_all(descriptor: int) -> str:
    text = b""
    while True:
        try:
            text += os.read(descriptor, 4096)
        except OSError:  # Linux's end of file of a terminal whose other side is closed
            return text.decode()


def on_a_terminal(script: str) -> str:
    """What a process writes to standard error, a terminal."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, 120, 0, 0))
    with subprocess.Popen([sys.executable, "-c", script], stderr=theirs) as process:
        os.close(theirs)
        text = read_all(ours)
    os.close(ours)
    assert process.returncode == 0, text
    return text


def test_a_bar_on_a_terminal() -> None:
    text = on_a_terminal("""if True:
        import time
        from relay_trt.runtime.progress import run_build

        def build(progress):
            time.sleep(0.8)
            progress.phase_start("time kernels", None, 4)
            progress.step_complete("time kernels", 2)
            time.sleep(0.8)

        run_build("tested", build)
    """)
    assert re.search(r"tested: building the engine, 00:00", text)
    assert re.search(r"tested:  75%\|.*\| 00:0\d, time kernels", text)
    assert re.search(r"\r +\r$", text)  # and it is gone when the build is done


def test_no_bar_for_a_quick_build() -> None:
    assert (
        on_a_terminal("""if True:
        from relay_trt.runtime.progress import run_build
        run_build("tested", lambda progress: None)
    """)
        == ""
    )


# A real module, whose engine takes long to build; it says so, and when the build has really ended.
RUN = """if True:
    import signal, sys, time
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells have what runs in the background ignore it
    import numpy as np, tvm
    from tvm.contrib.graph_executor import GraphModule
    import relay_trt.runtime
    from relay_trt.runtime.engines.onnxruntime import OnnxRuntimeEngine
    from relay_trt.runtime.progress import run_build

    library, data, seconds, cancels = sys.argv[1], np.load(sys.argv[2]), float(sys.argv[3]), sys.argv[4] == "cancels"
    build = OnnxRuntimeEngine.build

    def slow(progress):
        print("building", flush=True)
        end = time.monotonic() + seconds
        while time.monotonic() < end and not (cancels and progress.cancelled):
            time.sleep(0.01)
        print("build ended", flush=True)

    OnnxRuntimeEngine.build = lambda request: run_build(request.graph.symbol, slow) or build(request)
    module = GraphModule(tvm.runtime.load_module(library)["default"](tvm.cpu(0)))
"""
RUN_ONCE = """
    module.run(x=data)
    print("done", module.get_output(0).numpy().sum(), flush=True)
"""
RUN_TWICE = """
    try:
        module.run(x=data)
        print("done", flush=True)
    except KeyboardInterrupt as error:
        print("interrupted", flush=True)
        print(error, file=sys.stderr)
    seconds = 0
    module.run(x=data)
    print("done", module.get_output(0).numpy().sum(), flush=True)
"""
RUN_AND_END = """
    try:
        module.run(x=data)
        print("done", flush=True)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    x = relay.var("x", shape=(2, 3))
    mod, _ = partition_for_tensorrt(module(relay.nn.relu(relay.nn.dense(x, relay.const(np.ones((4, 3), "float32"))))))
    folder = tmp_path_factory.mktemp("library")
    np.save(folder / "x.npy", random((2, 3)))
    return compile_library(mod, folder / "lib.so")


class Process:
    """A process that builds; what it says is read line by line."""

    def __init__(self, script: str, library: Path, seconds: float, cancels: bool) -> None:
        arguments = [library, library.parent / "x.npy", seconds, "cancels" if cancels else "goes on"]
        self.process = subprocess.Popen(
            [sys.executable, "-c", RUN + script, *map(str, arguments)],
            env={**os.environ, "TVM_TENSORRT_ENGINE": "onnxruntime"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout and self.process.stderr
        self.stdout, self.stderr = self.process.stdout, self.process.stderr

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def expect(self, line: str) -> None:
        assert self.stdout.readline() == f"{line}\n", self.stderr.read()

    def interrupt(self) -> None:
        time.sleep(0.2)  # it has said that it builds before it waits
        self.process.send_signal(signal.SIGINT)

    def finish(self, timeout: Optional[float] = None) -> List[str]:
        stdout, self.said = self.process.communicate(timeout=timeout)
        return stdout.splitlines()


def test_an_interrupt_ends_the_process(library: Path) -> None:
    with Process(RUN_ONCE, library, 100, cancels=True) as process:
        process.expect("building")
        process.interrupt()
        assert process.finish(timeout=20) == ["build ended"]
    assert process.process.returncode == -signal.SIGINT
    assert re.search(r"^KeyboardInterrupt: [^\n]*tensorrt_main_0 was interrupted", process.said, re.MULTILINE)
    assert "Exception ignored" not in process.said


def test_a_call_after_an_interrupt(library: Path) -> None:
    with Process(RUN_TWICE, library, 100, cancels=True) as process:
        process.expect("building")
        process.interrupt()
        lines = process.finish(timeout=20)
    assert process.process.returncode == 0, process.said
    expected = np.maximum(random((2, 3)) @ np.ones((3, 4)), 0).sum()
    assert [line for line in lines if line != "interrupted"][:-1] == ["build ended", "building", "build ended"]
    assert lines.count("interrupted") == 1
    np.testing.assert_allclose(float(lines[-1].replace("done ", "")), expected, rtol=1e-5)
    assert "KeyboardInterrupt: tvmgen_default_tensorrt_main_0 was interrupted before it was done" in process.said


def test_the_process_outlives_a_build_that_cannot_be_cancelled(library: Path) -> None:
    with Process(RUN_AND_END, library, 2.5, cancels=False) as process:
        process.expect("building")
        process.interrupt()
        process.expect("interrupted")
        assert process.finish() == ["build ended"]
    assert process.process.returncode == 0, process.said
    assert "waiting for TensorRT to end a build that was interrupted" in process.said


def test_a_second_interrupt_ends_that_process_at_once(library: Path) -> None:
    with Process(RUN_AND_END, library, 100, cancels=False) as process:
        process.expect("building")
        process.interrupt()
        process.expect("interrupted")
        while "Ctrl-C ends the process at once" not in process.stderr.readline():
            assert process.process.poll() is None
        process.interrupt()
        assert process.finish(timeout=10) == []
    assert process.process.returncode == -signal.SIGINT
