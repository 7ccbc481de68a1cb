"""What a notebook asks of the machine that it runs on: which model tier fits, and where runs are kept."""

import os
import tempfile
from importlib.util import find_spec
from pathlib import Path

import torch

DRIVE = Path("/content/drive")


def suggested_preset() -> str:
    """`smollm2` on a GPU, `tiny` on a CPU; prints why, and what to expect of either before anything starts.

    The minutes were measured on shared CPU cores. What a run takes on this machine, `train` says before its first step.
    """
    if torch.cuda.is_available():
        print(
            f"{torch.cuda.get_device_name()}: the tier `smollm2`, not measured on a GPU. On one CPU core this notebook"
        )
        print("took 7 to 12 minutes. `tiny` takes 2 to 5 on two cores, and its numbers are those of the text.")
        return "smollm2"
    print(
        f"{os.cpu_count()} CPU cores, no GPU: the tier `tiny`. On two cores this notebook takes 2 to 5 minutes, and a"
    )
    print("full run about 10. `smollm2` works here as well: on one core this notebook took 7 to 12, and a full run 17.")
    return "tiny"


def run_directory(on_drive: bool = False) -> Path:
    """A new temporary folder; or `policy-gradients` on the user's Google Drive, which outlives a Colab session.

    Raises:
        ValueError: `on_drive` outside Colab.
    """
    if not on_drive:
        return Path(tempfile.mkdtemp())
    if find_spec("google") is None or find_spec("google.colab") is None:
        raise ValueError("Google Drive can be mounted in Colab alone; here, set ON_DRIVE = False, or name a folder")
    from google.colab import drive  # type: ignore[import-not-found]  # exists there only

    drive.mount(str(DRIVE))
    folder = DRIVE / "MyDrive" / "policy-gradients"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
