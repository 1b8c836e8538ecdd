"""Measurements, each a script: ``python -m benchmarks.<name>`` in the root of the repository."""
