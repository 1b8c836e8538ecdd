"""Relay to partitioned Relay. Needs TVM's compiler; never imports TensorRT."""

from .. import relay_ir  # noqa: F401  first: it says what is missing where this TVM has no Relay
from .partition import partition_for_tensorrt
from .report import PartitionReport, partition_report

__all__ = ["PartitionReport", "partition_for_tensorrt", "partition_report"]
