"""Where a report goes: checked before the work, and never lost after it."""

import contextlib
import json
import logging
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from policy_gradients.language.files import PARTIAL, require_place, write_whole

logger = logging.getLogger(__name__)


def check_file(file: Path | None) -> None:
    """Raise OSError or ValueError if a report could not be written there; None: it goes to no file.

    Nothing is left behind: folders on the way are made by `write_json`.
    """
    if file is not None:
        if file.is_dir():
            raise ValueError(f"{file} is a folder; give a file for the report")
        require_place(file)
        if file.is_file() or not file.exists():  # a device has no file beside it
            _try_names(file.resolve())


def _try_names(file: Path) -> None:
    """Make the folders on the way to a file, and what `write_whole` makes first, in a folder that goes again."""
    there = next(folder for folder in file.parents if folder.exists())
    try:
        with tempfile.TemporaryDirectory(dir=there) as tried:
            place = Path(tried) / file.relative_to(there)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.with_name(place.name + PARTIAL).touch()
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(file)) from None  # nobody knows the tried name


def takes_files(directory: Path) -> bool:
    """Whether a run's folder takes a card and a figure; said if not, for the report can go without."""
    try:
        require_place(directory)
    except (OSError, ValueError) as error:
        logger.warning("%s cannot be written to (%s): its card and its figure stay as they are", directory, error)
        return False
    return True


def write_json(content: Any, file: Path) -> None:
    """A file of JSON, whole or not at all; folders on the way to it are made.

    Raises:
        OSError: it cannot be written.
    """
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    file.resolve().parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, text.encode())


def deliver(parts: Mapping[str, Callable[[], Any]], content: Any) -> None:
    """Do every part, also when an earlier one fails; then, what could not be delivered is in a file elsewhere.

    Raises:
        ValueError: some part failed; the message says where the content is.
    """
    failed = {}
    for name, part in parts.items():
        try:
            part()
        except (OSError, ValueError) as error:
            failed[name] = error
    if failed:
        said = "; ".join(f"{name}: {error}" for name, error in failed.items())
        for folder in (None, "."):
            with contextlib.suppress(OSError):
                place = Path(tempfile.mkdtemp(prefix="policy-gradients-", dir=folder), "report.json").absolute()
                write_json(content, place)
                raise ValueError(f"the whole report is in {place}: not all could be written where it should ({said})")
        raise ValueError(f"not all could be written ({said}), nor in a folder for temporary files")
