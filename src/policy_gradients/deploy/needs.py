"""Packages that only this room needs, and the one line that says how to get them."""

import importlib
import importlib.util
import subprocess
from types import ModuleType

INSTALL = "pip install 'policy-gradients[deploy]'"


class DeployError(ValueError):
    """Something that cannot be exported, served or reached; the message says why and what to do."""


def need(package: str, what: str) -> ModuleType:
    """Import a package of the extra `deploy`.

    Raises:
        DeployError: it is not installed; `what` says what wanted it.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        missing = error.name or package
        raise DeployError(f"{what} needs the package {missing}, which is not installed: {INSTALL}") from None


def installed(package: str, python: str | None = None) -> bool:
    """Whether a package can be imported, here or by another interpreter; nothing is imported."""
    if python is None:
        return importlib.util.find_spec(package) is not None
    code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({package!r}) is None)"
    try:
        return subprocess.run([python, "-c", code], capture_output=True, timeout=60).returncode == 0
    except (OSError, subprocess.SubprocessError) as error:
        raise DeployError(f"{python} does not run as a Python interpreter ({error})") from None
