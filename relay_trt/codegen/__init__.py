"""Partitioned Relay functions to JSON and C source. Needs TVM's compiler; never imports TensorRT."""

from .module import load

__all__ = ["load"]
