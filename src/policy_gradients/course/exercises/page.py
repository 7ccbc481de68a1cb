"""How the exercises speak: a card in a notebook, readable on light and dark pages; the same words as text elsewhere."""

import html
import re
from collections.abc import Iterable
from typing import Any

from IPython.display import display

from policy_gradients.course.display import in_notebook
from policy_gradients.course.figures import BLUE, GREEN, GREY, VERMILLION

# The edge's colour repeats what the mark and the words say; text and ground are the page's own, whatever its theme.
COLOURS = {"✓": GREEN, "✗": VERMILLION, "!": VERMILLION, "…": GREY, "?": BLUE}
METADATA = "policy_gradients"  # key in an output's metadata, from which tools read outcomes


def card(
    mark: str,
    heading: str,
    text: str = "",
    shown: Iterable[tuple[str, str]] = (),
    foot: str = "",
    facts: dict[str, Any] | None = None,
    folded: Iterable[tuple[str, str]] = (),
) -> None:
    """Show a heading, sentences with `code` and *stress* (a line break starts a paragraph), and labelled code; `folded`
    is labelled code that a notebook opens at a click."""
    shown, folded = list(shown), list(folded)
    plain = [f"{mark} {heading}", *filter(None, text.split("\n"))]
    for label, code in shown + folded:
        plain += [f"  {label}:", *(f"      {line}" for line in code.splitlines())]
    plain += [foot] if foot else []
    if not in_notebook():
        print("\n".join(plain))
        return
    parts = [f"<strong><span aria-hidden='true'>{mark}</span> {_inline(heading)}</strong>"]
    parts += [f"<div>{_inline(line)}</div>" for line in text.split("\n") if line]
    for label, code in shown:
        parts.append(f"<div style='margin-top:.4em;opacity:.85'>{_inline(label)}</div>{_block(code)}")
    for label, code in folded:
        summary = f"<summary style='cursor:pointer;opacity:.85'>{_inline(label)}</summary>"
        parts.append(f"<details style='margin-top:.4em'>{summary}{_block(code)}</details>")
    parts += [f"<div style='margin-top:.4em;opacity:.85'>{_inline(line)}</div>" for line in foot.split("\n") if line]
    edge = f"border-left:4px solid {COLOURS[mark]};padding:.2em .8em;margin:.3em 0;color:inherit;background:transparent"
    bundle = {"text/html": f"<div role='status' style='{edge}'>{''.join(parts)}</div>", "text/plain": "\n".join(plain)}
    display(bundle, raw=True, metadata={METADATA: facts} if facts else {})


def _inline(text: str) -> str:
    pieces = re.split(r"`([^`]+)`", text)
    return "".join(f"<code>{html.escape(p)}</code>" if i % 2 else _stressed(p) for i, p in enumerate(pieces))


def _stressed(text: str) -> str:
    """With *words* in asterisks stressed; a product, n * x or n*x, stays one."""
    return re.sub(r"(?<![\w*])\*(\w[^*]*)\*(?![\w*])", r"<em>\1</em>", html.escape(text, quote=False))


def _block(code: str) -> str:
    style = "margin:.1em 0;padding:0 0 0 1em;color:inherit;background:transparent;white-space:pre;overflow-x:auto"
    return f"<pre style='{style}'>{html.escape(code, quote=False)}</pre>"
