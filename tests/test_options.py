from __future__ import annotations

import dataclasses
import json
from importlib import metadata
from typing import Any, Dict

import numpy as np
import pytest

from relay_trt.options import CompileOptions, installed_tensorrt_version, parse_version


def test_survives_json() -> None:
    options = CompileOptions((8, 6, 1), use_implicit_batch=False, max_workspace_size=1 << 33, use_fp16=True)
    assert CompileOptions.from_dict(json.loads(json.dumps(options.to_dict()))) == options


def test_from_dict_keeps_defaults() -> None:
    assert CompileOptions.from_dict({"use_fp16": True}) == CompileOptions(use_fp16=True)


def test_unknown_option_is_named() -> None:
    with pytest.raises(
        ValueError, match=r"unknown option 'use_fp8'; accepted are tensorrt_version, use_implicit_batch"
    ):
        CompileOptions.from_dict({"use_fp8": True})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tensorrt_version": (8, 6)}, r"three integers, like \(8, 6, 1\), not \(8, 6\)"),
        ({"tensorrt_version": "8.6.1"}, r"three integers.* not '8.6.1'"),
        ({"tensorrt_version": (8, 6, "1")}, r"three integers"),
        ({"tensorrt_version": (8, -6, 1)}, r"three integers"),
        ({"tensorrt_version": None}, r"three integers.* not None"),
        ({"max_workspace_size": 0}, r"'max_workspace_size' must be a number of bytes above 0, not 0"),
        ({"max_workspace_size": 1.5}, r"'max_workspace_size'.* not 1.5"),
        ({"max_workspace_size": True}, r"'max_workspace_size'.* not True"),
        ({"use_fp16": "yes"}, r"'use_fp16' must be True or False, not 'yes'"),
        ({"use_implicit_batch": None}, r"'use_implicit_batch' must be True or False"),
        ({"dynamic_shapes": {}}, r"'dynamic_shapes' must be True or False, not {}"),
        ({"remove_no_mac_subgraphs": 2}, r"'remove_no_mac_subgraphs' must be True or False"),
    ],
)
def test_wrong_values_are_named(options: Dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        CompileOptions.from_dict(options)


def test_implicit_batch_ended_with_tensorrt_10(log: pytest.LogCaptureFixture) -> None:
    assert CompileOptions((8, 6, 1)).use_implicit_batch
    assert not CompileOptions((10, 0, 0)).use_implicit_batch
    assert "TensorRT 10.0.0 has no implicit batch" in log.text


def test_dynamic_shapes_have_no_implicit_batch() -> None:
    assert not CompileOptions((8, 6, 1), dynamic_shapes=True).use_implicit_batch


def test_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        CompileOptions().use_fp16 = True  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "version"),
    [("8.6.1", (8, 6, 1)), ("10.16.1.11", (10, 16, 1)), ("8.5", (8, 5, 0)), ("10.0.0b6", (10, 0, 0))],
)
def test_parse_version(text: str, version: Any) -> None:
    assert parse_version(text) == version


def test_installed_version_comes_from_the_packages_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name != "tensorrt-cu12":
            raise metadata.PackageNotFoundError(name)
        return "10.3.0"

    monkeypatch.setattr(metadata, "version", version)
    assert installed_tensorrt_version() == (10, 3, 0)


def test_no_installed_version(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)
    assert installed_tensorrt_version() is None


def test_numpy_s_integers_are_integers() -> None:
    options = CompileOptions(tuple(np.int64([8, 6, 1])), max_workspace_size=np.int64(1 << 20))
    assert options == CompileOptions((8, 6, 1), max_workspace_size=1 << 20)
    assert json.loads(json.dumps(options.to_dict())) == options.to_dict()
