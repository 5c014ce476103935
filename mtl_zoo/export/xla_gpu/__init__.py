"""Kernels of the shared trunk for named GPUs, compiled by TensorFlow's XLA on any host.

What comes out is compiled ahead of time and statically verified, not executed on a GPU
and not autotuned; convolutions call cuDNN.
"""

from mtl_zoo.export.xla_gpu.checks import verify
from mtl_zoo.export.xla_gpu.compile import compile_gpu

__all__ = ["compile_gpu", "verify"]
