"""constraints.txt is a lock: all that the package and its tests need, needs of needs too, has its version there."""

import re
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PINNED = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+)", re.MULTILINE)


def pins() -> dict[str, str]:
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    return {canonicalize_name(name): version for name, version in PINNED.findall(text)}


def needed(extra: str) -> set[str]:
    """Names of all that `pip install -e .[extra]` brings here."""
    found: set[str] = set()
    waiting = [Requirement(f"policy-gradients[{extra}]")]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        key = (name, frozenset(wanted.extras))
        if key in seen:
            continue
        seen.add(key)
        try:
            requires = distribution(name).requires or []
        except PackageNotFoundError:  # of another platform, or not installed here
            continue
        found.add(name)
        for line in requires:
            other = Requirement(line)
            extras = wanted.extras or {""}
            if other.marker is None or any(other.marker.evaluate({"extra": each}) for each in extras):
                waiting.append(other)
    return found - {"policy-gradients"}


@pytest.mark.parametrize("extra", ["learn", "dev"])
def test_everything_that_is_installed_is_pinned(extra):
    wanted = needed(extra)
    assert {"torch", "transformers", "scipy"} <= wanted
    assert not {name for name in wanted if name not in pins()}


def test_a_name_is_pinned_once():
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    names = [canonicalize_name(name) for name, _ in PINNED.findall(text)]
    assert sorted(names) == sorted(set(names))
