"""The version of relay_trt; setup.py and the JSON graphs read it here."""

__version__ = "0.1.0"
