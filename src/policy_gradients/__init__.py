"""Policy gradients, executed: a notebook course and its reference solution."""

import os

# A step makes and drops hundreds of large tensors, and on Linux each is memory that the kernel clears page by page, in
# pages of 4 KiB: a tenth of a step on a CPU and more. PyTorch asks for pages of 2 MiB if it finds this before the first.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
