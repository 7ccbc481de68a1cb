"""The way through the course: each notebook's question and minutes, read off its own head, and the map made from them.

python tools/way.py         write the map of README.md anew

Nothing about a notebook is kept here. Its question is its title; the minutes to read stand in the table under it, and
those of its exercises come from the exercises themselves.
"""

import re
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ROOT / "notebooks" / "scripts"
README = ROOT / "README.md"
AFTER = {"break_it": "05~"}  # a notebook without a number -> the one that it follows
BEGIN, END = "<!-- map: python tools/way.py -->", "<!-- end of map -->"
PLACEHOLDER = "OWNER"  # in the scripts, where the repository's owner on GitHub is meant
BADGE = re.compile(r"^\[!\[Open In Colab\].*$", re.MULTILINE)
COLAB = "https://colab.research.google.com"
NO_BADGE = (
    "**On Colab**: this copy has no address on GitHub yet. `python tools/nb.py owner NAME` gives it one, and this line "
    "becomes a badge."
)
INSTALL = re.compile(r"^    get_ipython\(\)\.run_line_magic\(\"pip\", .*$", re.MULTILINE)
NO_INSTALL = '    raise ModuleNotFoundError("no address to install the course from; in a checkout: pip install -e .")'


@dataclass(frozen=True)
class Room:
    """One notebook, as a map shows it; minutes are None where its head does not say them."""

    name: str
    number: str
    question: str
    reading: int | None
    practice: int
    exercises: int
    mistakes: int

    @property
    def minutes(self) -> str:
        """ "55 + 80", or "–"."""
        return "–" if self.reading is None else f"{self.reading} + {self.practice}"


def head(script: Path) -> str:
    """The first Markdown cell, without its comment signs."""
    cell = script.read_text(encoding="utf-8").split("# %% [markdown]\n", 1)[1].split("\n# %%", 1)[0]
    return re.sub(r"^# ?", "", cell, flags=re.MULTILINE)


def rooms(scripts: Path = SCRIPTS) -> list[Room]:
    """All notebooks, in the order of the course."""
    from policy_gradients.course.exercises.declare import exercises_of

    found = []
    for script in scripts.glob("*.py"):
        top = head(script)
        number, question = re.search(r"^# (\w+) · (.+)$", top, re.MULTILINE).groups()
        reading = re.search(r"\| to read and think \| (\d+) min", top)
        own = exercises_of(script.stem)
        minutes = sum(entry.minutes for entry in own)
        counts = minutes, len(own), sum(len(entry.mistakes) for entry in own)
        found.append(Room(script.stem, number, question, int(reading[1]) if reading else None, *counts))
    return sorted(found, key=lambda room: (AFTER.get(room.name, room.name), room.name))


def total(given: list[Room]) -> str:
    """The whole course in one sentence: the only place that says it."""
    hours = round(sum((room.reading or 0) + room.practice for room in given) / 60)
    count, practice = sum(room.exercises for room in given), sum(room.practice for room in given)
    mistakes = sum(room.mistakes for room in given)
    return (
        f"All of it: about {hours} hours, {practice} minutes of them for {count} exercises, which know {mistakes} "
        "typical mistakes by name."
    )


def owner(root: Path = ROOT) -> str:
    """The repository's owner on GitHub, "" if it has none yet. It stands in pyproject.toml and nowhere else by hand."""
    text = (root / "pyproject.toml").read_text(encoding="utf-8")
    return re.search(r'^\[tool\.course\]\nowner = "([^"]*)"', text, re.MULTILINE)[1]


def set_owner(name: str, root: Path = ROOT) -> None:
    """Write the owner down; ValueError for what can be none."""
    if name and not re.fullmatch(r"[A-Za-z0-9](-?[A-Za-z0-9]){0,38}", name):
        raise ValueError(f"{name!r} is no name of a GitHub account: letters, digits and single hyphens, 39 at most")
    if name == PLACEHOLDER:
        raise ValueError(f"{PLACEHOLDER} is the placeholder: give the account's own name")
    file = root / "pyproject.toml"
    text = file.read_text(encoding="utf-8")
    text = re.sub(r'^(\[tool\.course\]\nowner = )"[^"]*"', rf'\1"{name}"', text, flags=re.MULTILINE)
    file.write_text(text, encoding="utf-8", newline="\n")


def addressed(source: str, name: str) -> str:
    """A cell of a script as its notebook has it: with the owner's name, or saying that there is none."""
    if name:
        return source.replace(f"github.com/{PLACEHOLDER}/", f"github.com/{name}/").replace(
            f"github/{PLACEHOLDER}/", f"github/{name}/"
        )
    return INSTALL.sub(NO_INSTALL, BADGE.sub(NO_BADGE, source))


def badge(room: Room, name: str) -> str:
    link = f"{COLAB}/github/{name}/policy-gradients/blob/main/notebooks/{room.name}.ipynb"
    return f"[![Open In Colab]({COLAB}/assets/colab-badge.svg)]({link})"


def readme_map(given: list[Room], name: str) -> str:
    """The table of README.md, with the words around it."""
    header = ["notebook", "question", "minutes: read + practise", *["on Colab"][: bool(name)]]
    lines = [f"| {' | '.join(header)} |", "| " + " | ".join(["---"] * len(header)) + " |"]
    for room in given:
        cells = [f"[{room.number}](notebooks/{room.name}.ipynb)", room.question, room.minutes]
        lines.append(f"| {' | '.join([*cells, *[badge(room, name)][: bool(name)]])} |")
    return "\n".join([BEGIN, "", *lines, "", total(given), "", END])


def with_map(text: str, given: list[Room], name: str) -> str:
    """README.md with its map renewed."""
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ValueError(f"README.md must hold {BEGIN} and {END} once each")
    return text[: text.index(BEGIN)] + readme_map(given, name) + text[text.index(END) + len(END) :]


def main() -> int:
    README.write_text(with_map(README.read_text(encoding="utf-8"), rooms(), owner()), encoding="utf-8", newline="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
