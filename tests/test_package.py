import subprocess
import sys
from pathlib import Path

import pytest

HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
FAULTS = """
import os, resource, sys
if sys.argv[1] == "with": import policy_gradients
import torch
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
tensor = torch.ones(2**24)  # 64 MiB: 16,384 pages of 4 KiB
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(package):
    command = [sys.executable, "-c", FAULTS, package]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(
    not HUGE_PAGES.exists() or "[madvise]" not in HUGE_PAGES.read_text(), reason="pages are as large as they always are"
)
def test_large_tensors_are_made_of_large_pages(monkeypatch):
    monkeypatch.delenv("THP_MEM_ALLOC_ENABLE", raising=False)
    assert faults("without") > 10_000 > 2_000 > faults("with")
