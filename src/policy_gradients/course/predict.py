"""Predictions with teeth: commit to a guess, then see the answer. The first guess counts, and the score is kept.

    predict("silent groups", "Which share of the groups is silent at first?", 0.85, within=0.1)
    predict("sign", "Which way does KL go?", "up", options=["down", "nowhere", "up"])
    predict("curve", "Draw the pass rate.", [0.0, 0.2, 0.9], at=[0, 50, 100], between=(0, 1), within=0.15)

In a live notebook, here and on Colab, a form stands in the cell, and the answer appears once it is sent. What is stored
in the file, and shown on the site and on GitHub, is the question over a folded answer. In a script, `guess=` commits.
"""

import html
import math
from collections.abc import Sequence
from typing import Any

import matplotlib
from IPython.display import display
from matplotlib.figure import Figure

from policy_gradients.course.display import in_notebook, png_bundle
from policy_gradients.course.exercises import kept
from policy_gradients.course.exercises.page import card
from policy_gradients.course.figures import BLUE, ORANGE, STYLE

Guess = float | str | Sequence[float]
STEPS = 20  # heights between the ends of a curve's range


def predict(
    name: str,
    question: str,
    answer: Guess,
    *,
    options: Sequence[str] = (),
    at: Sequence[float] = (),
    between: tuple[float, float] | None = None,
    within: float = 0.0,
    because: str = "",
    guess: Guess | None = None,
) -> None:
    """Ask for a prediction, and reveal the answer to who has made one.

    Args:
        name: under which it is kept; one name, one prediction, over all notebooks.
        question: in a sentence or two; `code` in backquotes.
        answer: a number, one of the options, or the heights of a curve, one for each of `at`. It may come from the
            cells above: compute it there, and show it only after this cell.
        options: makes it a choice.
        at: makes it a curve, sketched at these places.
        between: the lowest and highest height of a curve.
        within: how far off still counts as right: of a number, in its units; of a curve, on average over its points.
        because: a sentence that comes with the answer.
        guess: commits at once, without a form.

    Raises:
        ValueError: an answer or a guess that is none of the options, a curve without a range or of another length, or a
            negative or infinite tolerance.
    """
    if options and at:
        raise ValueError("give `options` for a choice or `at` for a curve, not both")
    if at and (between is None or not between[0] < between[1]):
        raise ValueError(f"a curve needs between=(low, high) with low < high, got {between}")
    if not (math.isfinite(within) and within >= 0):
        raise ValueError(f"within must be a number of at least 0, got {within}")
    question_of = _Question(name, question, answer, tuple(options), tuple(at), between, within, because)
    question_of.checked(answer, "answer")
    before = kept.prediction(name)
    if guess is not None:
        question_of.reveal(question_of.checked(guess, "guess"))
    elif not in_notebook():
        print(
            f"? Predict: {question}\n  {question_of.form_in_words()}  Commit with guess=…; the answer comes after it."
        )
    elif before:
        question_of.reveal(None)
    else:
        question_of.ask()


class _Question:
    def __init__(
        self,
        name: str,
        question: str,
        answer: Guess,
        options: tuple[str, ...],
        at: tuple[float, ...],
        between: tuple[float, float] | None,
        within: float,
        because: str,
    ) -> None:
        self.name, self.question, self.answer, self.options = name, question, answer, options
        self.at, self.between, self.within, self.because = at, between, within, because

    def checked(self, value: Any, what: str) -> Guess:
        """The value, if it can be an answer to this question; ValueError else."""
        if self.options:
            if value not in self.options:
                raise ValueError(f"{what} must be one of {', '.join(self.options)}; got {value!r}")
            return value
        if self.at:
            heights = [float(height) for height in value] if isinstance(value, Sequence | tuple) else []
            if len(heights) != len(self.at) or not all(map(math.isfinite, heights)):
                raise ValueError(f"{what} must hold {len(self.at)} finite heights, one for each of `at`; got {value!r}")
            return heights
        if isinstance(value, str | bool) or not math.isfinite(float(value)):
            raise ValueError(f"{what} must be a finite number, got {value!r}")
        return float(value)

    def is_right(self, guess: Guess) -> bool:
        if self.options:
            return guess == self.answer
        pairs = list(zip(guess, self.answer, strict=True)) if self.at else [(guess, self.answer)]
        off = sum(abs(ours - theirs) for ours, theirs in pairs) / len(pairs)
        return off <= self.within * (1 + 1e-9) + 1e-12

    def form_in_words(self) -> str:
        if self.options:
            return "One of: " + ", ".join(self.options) + "."
        if self.at:
            return f"Heights at {', '.join(map(_said, self.at))}, between {_said(self.between)}."
        return "A number."

    def reveal(self, guess: Guess | None) -> None:
        """Keep the guess, if it is the first, and show the answer beside it; without a guess, beside the one kept."""
        if guess is not None:
            kept.record_prediction(self.name, _said(guess), self.is_right(guess))
        first = kept.prediction(self.name) or {"guess": _said(guess), "right": self.is_right(guess)}
        right, made = kept.score()
        again = guess is not None and first["guess"] != _said(guess)
        said = [f"You said {first['guess']}" + (f" (first, and {_said(guess)} now)." if again else ".")]
        said += [f"The answer is {_said(self.answer)}.", self.because]
        heading = f"Predicted: {'right' if first['right'] else 'not so'}"
        foot = f"predictions: {right} of {made} came true" if made else ""
        card("✓" if first["right"] else "✗", heading, "\n".join(filter(None, said)), foot=foot)
        if self.at and guess is not None and in_notebook():
            data, metadata = png_bundle(self.sketch(guess), 110)
            display(data, raw=True, metadata=metadata)

    @matplotlib.rc_context(STYLE)
    def sketch(self, guess: Sequence[float]) -> Figure:
        """The curve that was guessed and the one that came; the label is the alt text."""
        figure = Figure(figsize=(6, 2.6), layout="constrained")
        axes = figure.subplots()
        axes.plot(self.at, guess, "o--", color=ORANGE, label="your sketch")
        axes.plot(self.at, self.answer, "o-", color=BLUE, label="what came")
        axes.set_ylim(*self.between)
        axes.legend(frameon=False)
        figure.set_label(f"Your sketch: {_said(guess)}. What came: {_said(self.answer)}.")
        return figure

    def ask(self) -> None:
        """A form where there are widgets, and under the same output the question over a folded answer, for every place
        where there are none."""
        answer = f"{html.escape(_said(self.answer))}. {html.escape(self.because)}"
        folded = (
            f"<div><strong>Predict:</strong> {html.escape(self.question)} {html.escape(self.form_in_words())}"
            f"<details><summary>The answer, once you have written yours down</summary>{answer}</details></div>"
        )
        bundle: dict[str, Any] = {"text/html": folded, "text/plain": f"Predict: {self.question}"}
        try:
            import ipywidgets

            form = self.form(ipywidgets)
            bundle["application/vnd.jupyter.widget-view+json"] = {
                "version_major": 2,
                "version_minor": 0,
                "model_id": form.model_id,
            }
        except ImportError:  # the folded answer still is one
            pass
        display(bundle, raw=True)

    def form(self, widgets: Any) -> Any:
        """Question, fields, a button, and a place for the answer."""
        wide = {"style": {"description_width": "initial"}}
        if self.options:
            fields = [widgets.RadioButtons(options=self.options, value=None, layout={"width": "max-content"})]
        elif self.at:
            low, high = self.between
            slider = {"min": low, "max": high, "step": (high - low) / STEPS, "value": low, "orientation": "vertical"}
            fields = [widgets.FloatSlider(description=_said(x), **slider, layout={"width": "5em"}) for x in self.at]
        else:
            fields = [widgets.Text(description="your number", placeholder="such as 0.25", **wide)]
        send = widgets.Button(description="Commit, then see", button_style="primary")
        shown, told = widgets.Output(), widgets.HTML()

        def commit(_: Any) -> None:
            values = [field.value for field in fields]
            try:
                number = not (self.options or self.at)
                value = float(values[0].replace(",", ".")) if number else values if self.at else values[0]
                guess = self.checked(value, "guess")
            except (ValueError, TypeError):
                told.value = "Choose one first." if self.options else "That is no number yet."
                return
            told.value = ""
            for widget in (*fields, send):
                widget.disabled = True
            with shown:
                self.reveal(guess)

        send.on_click(commit)
        question = widgets.HTML(f"<strong>Predict:</strong> {html.escape(self.question)}")
        return widgets.VBox([question, widgets.HBox(fields), send, told, shown])


def _said(value: Any) -> str:
    """A guess in words."""
    if isinstance(value, str):
        return value
    return ", ".join(map(_said, value)) if isinstance(value, Sequence) else f"{float(value):.4g}"
