from __future__ import annotations

import threading
from typing import Any, Dict

import pytest
import tvm

import relay_trt.codegen  # noqa: F401  lets PassContext take the option
from relay_trt.codegen.pass_config import KEY, accept_options, options_of_pass_context
from relay_trt.options import CompileOptions

CONFIG = CompileOptions((8, 6, 1), max_workspace_size=1 << 33).to_dict()


def test_options_of_the_current_context() -> None:
    assert options_of_pass_context() == {}
    with tvm.transform.PassContext(config={KEY: CONFIG}):
        assert options_of_pass_context() == CONFIG
    assert options_of_pass_context() == {}


def test_only_what_is_given_counts() -> None:
    """The others are those of the partitioned functions."""
    with tvm.transform.PassContext(config={KEY: {"use_fp16": 1}}):
        assert options_of_pass_context() == {"use_fp16": True}
    with tvm.transform.PassContext(config={KEY: {}}):
        assert options_of_pass_context() == {}


def test_options_that_are_no_dict() -> None:
    with pytest.raises(TypeError, match="options are a dict, not None"):
        tvm.transform.PassContext(config={KEY: None})


def test_the_innermost_context_counts() -> None:
    with tvm.transform.PassContext(config={KEY: CONFIG}):
        with tvm.transform.PassContext(config={KEY: {**CONFIG, "use_fp16": True}}):
            assert options_of_pass_context() == {**CONFIG, "use_fp16": True}
        with tvm.transform.PassContext():
            assert options_of_pass_context() == {}
        assert options_of_pass_context() == CONFIG


def test_unknown_keys_are_named() -> None:
    with pytest.raises(ValueError, match="unknown option 'speed'; accepted are tensorrt_version"):
        tvm.transform.PassContext(config={KEY: {"speed": 11}})


def test_the_rest_of_a_context_is_tvms() -> None:
    @tvm.instrument.pass_instrument
    class Counter:
        def __init__(self) -> None:
            self.passes = 0

        def run_before_pass(self, mod: tvm.IRModule, info: Any) -> None:
            self.passes += 1

    counter = Counter()
    config: Dict[str, Any] = {KEY: CONFIG, "relay.FuseOps.max_depth": 7}
    with tvm.transform.PassContext(3, disabled_pass=["FoldConstant"], instruments=[counter], config=config) as context:
        tvm.relay.transform.InferType()(tvm.IRModule())
    assert context.opt_level == 3
    assert list(context.disabled_pass) == ["FoldConstant"]
    assert dict(context.config.items()) == {"relay.FuseOps.max_depth": 7}
    assert counter.passes == 1
    assert config[KEY] is CONFIG  # the caller's dict is as it was


def test_tvm_still_refuses_other_unknown_options() -> None:
    with pytest.raises(Exception, match="Invalid config option 'relay.ext.other.options'"):
        tvm.transform.PassContext(config={"relay.ext.other.options": 1})


def test_where_tvm_has_the_key_it_stays_tvms(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in old releases that were built with TVM's own TensorRT, which finds its options there."""
    context = tvm.transform.PassContext
    tvms = context.__init__.__wrapped__
    monkeypatch.setattr(context, "__init__", tvms)
    monkeypatch.setattr(context, "list_configs", lambda: {KEY: {"type": "ext.attrs.TensorRTCompilerConfigNode"}})
    accept_options()
    assert context.__init__ is tvms


def test_threads_have_contexts_of_their_own() -> None:
    seen = []
    with tvm.transform.PassContext(config={KEY: CONFIG}):
        thread = threading.Thread(target=lambda: seen.append(options_of_pass_context()))
        thread.start()
        thread.join()
    assert seen == [{}]
