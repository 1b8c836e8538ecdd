#--------------------------------------------------------------------
#  Configuration of the relay_trt build
#
#  setup.py reads this file; TVM itself is not rebuilt. Change it, then
#  run `pip install .` here. Lines are comments, empty, or
#
#  - set(<switch> <value>)
#
#  with one switch a line. A value with spaces or parentheses stands
#  between double quotes. A switch that is not set is ON.
#--------------------------------------------------------------------

# Whether to build the compiler: partition Relay modules for TensorRT
# and generate code for them. It needs TVM's Relay and no TensorRT at
# all, neither its libraries nor its Python package.
#
# Possible values:
# - ON: build the compiler
# - OFF: leave relay_trt.annotation and relay_trt.codegen out, for a
#   device that only runs what another machine compiled
set(USE_TENSORRT_CODEGEN ON)

# Whether to build the runtime: build and launch engines for compiled
# modules. It needs TVM's runtime only, without Relay.
#
# Possible values:
# - ON: build the runtime; it uses the TensorRT of the system or of the
#   Python environment, and without one runs on the CPU
# - OFF: leave relay_trt.runtime out, for a host that only compiles
# - /path/to/TensorRT: build the runtime for the TensorRT that was
#   unpacked there (the tar file installation): its libraries in lib/,
#   its Python package from python/
set(USE_TENSORRT_RUNTIME ON)
