"""Policy gradients, executed: a notebook course and its reference solution."""

import os

# A step makes and drops hundreds of large tensors. On Linux each is memory that the kernel has to clear, in pages of
# 4 KiB: up to a tenth of a step on a CPU. PyTorch asks for pages of 2 MiB if it finds this before its first tensor.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
