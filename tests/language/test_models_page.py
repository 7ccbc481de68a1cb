"""The page of supported models names those that the tests run, each on the path that it takes there."""

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from test_agreement import PACKED, PADDED
from test_checker_states import TOKENIZERS

PAGE = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")


def named(heading, until):
    """What stands in code behind a bold heading's own paragraph."""
    section = PAGE.split(f"**{heading}**", 1)[1].split(f"**{until}**", 1)[0].split("\n## ", 1)[0]
    return set(re.findall(r"`([^`]+)`", section.split("\n\n", 1)[1]))


def test_the_page_says_what_the_tests_run():
    assert named("Packed", "Padded") == PACKED.keys()
    assert named("Padded", "Refused") == PADDED.keys()
    exact, refused = named("With an exact table", "Without one"), named("Without one", "none")
    assert exact | refused == TOKENIZERS.keys() and refused == {"</w> BPE"}
