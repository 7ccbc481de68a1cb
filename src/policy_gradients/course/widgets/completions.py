"""Leaf through completions, every check marked."""

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from policy_gradients.course.display import MARK
from policy_gradients.course.widgets.explorer import Control, Explorer

# The page's own colours, light or dark
TEXT = (
    "font-family:monospace;white-space:pre-wrap;border:1px solid;padding:.3em .5em;color:inherit;background:transparent"
)

Marked = Mapping[str, Any]
KINDS = {"all": lambda c: True, "those that pass": lambda c: c["passed"], "those that fail": lambda c: not c["passed"]}


@dataclass(frozen=True)
class Card:
    """One completion, or one prompt's completion before and after training, with its checks.

    Attributes:
        title: which one it is.
        excerpt: of the prompt, if there is one.
        sides: name ("before", "after", or "") -> a completion as `evaluation.evaluate.marked` returns it.
    """

    title: str
    excerpt: str
    sides: Mapping[str, Marked]

    def __repr__(self) -> str:
        lines = [self.title, *([f"  prompt: {json.dumps(self.excerpt, ensure_ascii=False)}"] if self.excerpt else [])]
        for name, completion in self.sides.items():
            text = json.dumps(completion["text"], ensure_ascii=False)
            lines.append(f"  {name + ': ' if name else ''}{text} (characters: {completion['characters']})")
            lines.append("    " + ", ".join(f"{MARK[ok]} {check}" for check, ok in _all_checks(completion)))
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        parts = [f"<strong>{html.escape(self.title)}</strong>"]
        if self.excerpt:
            parts.append(f"<div style='opacity:.8'>Prompt: {html.escape(self.excerpt)}</div>")
        for name, completion in self.sides.items():
            checks = " · ".join(
                f"<span style='white-space:nowrap'>{MARK[ok]} {html.escape(check)}</span>"
                for check, ok in _all_checks(completion)
            )
            heading = f"<em>{html.escape(name)}</em>, " if name else ""
            parts.append(f"<div style='margin-top:.6em'>{heading}characters: {completion['characters']}</div>")
            parts.append(f"<div style='{TEXT}'>{_with_digits(completion['text'])}</div><div>{checks}</div>")
        return f"<div>{''.join(parts)}</div>"


def completion_browser(completions: Sequence[Marked], **start: Any) -> Explorer:
    """A slider over completions, and a menu for those that pass or fail.

    Args:
        completions: as `evaluate.marked` returns them, or the "completions" of a report, which hold the excerpt of the
            prompt, "before" and "after"; these pass or fail by what comes after.

    Raises:
        ValueError: no completions.
    """
    if not completions:
        raise ValueError("completions is empty: there is nothing to leaf through")

    def card(number: int, kind: str) -> Card:
        chosen = [c for c in completions if KINDS[kind](c.get("after", c))]
        if not chosen:
            return Card(f"None of {len(completions)} completions are {kind}.", "", {})
        place = -(-number * len(chosen) // len(completions))  # the end of the slider is the last of them
        entry = chosen[place - 1]
        sides = {name: entry[name] for name in ("before", "after") if name in entry} or {"": entry}
        title = f"Completion {place} of {len(chosen)}" + (f", {kind}" if kind != "all" else "")
        return Card(title, entry.get("excerpt", ""), sides)

    controls = {
        "number": Control("how far through", _places(len(completions)), 1),
        "kind": Control("show", tuple(KINDS), "all"),
    }
    return Explorer(card, controls, **start)


def _places(count: int) -> tuple[tuple[str, int], ...]:
    """The slider says how far through the shown ones it stands: how many they are, the menu decides."""
    digits = 0 if count <= 100 else 1
    return tuple((f"{100 * i / count:.{digits}f} %", i) for i in range(1, count + 1))


def _all_checks(completion: Marked) -> list[tuple[str, bool]]:
    verdict = "passes" if completion["passed"] else "does not pass"
    return [(verdict, completion["passed"]), *completion["checks"].items()]


def _with_digits(text: str) -> str:
    """The text with the digits that count underlined, and every space and line break visible."""
    marks = {" ": "<span style='opacity:.4'>·</span>", "\n": "<span style='opacity:.6'>↵</span>\n"}
    digit = "<strong style='text-decoration:underline'>{}</strong>"
    return "".join(marks.get(c) or (digit.format(c) if c in "0123456789" else html.escape(c)) for c in text)
