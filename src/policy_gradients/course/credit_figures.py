"""Who gets the credit: the tokens of one sentence, and what crediting them so means for all sentences."""

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from policy_gradients.course.figures import BLUE, GREY, INK, STYLE, VERMILLION


@matplotlib.rc_context(STYLE)
def sentence_credit(
    words: Sequence[str],
    credit: ArrayLike,
    exact: ArrayLike,
    bias_and_noise: Mapping[str, tuple[float, float]],
    chosen: str,
    title: str = "",
) -> Figure:
    """Left: each word's credit as a bar, its exact advantage as a diamond. Right: bias and noise of such a choice.

    Args:
        words, credit, exact: of one sentence, (time,) each.
        bias_and_noise: name of a setting -> (‖bias‖, standard deviation) of the gradient, both relative to its length.
        chosen: which of the settings the left panel shows.
        title: of the left panel.

    Raises:
        ValueError: lengths that differ, a chosen setting that there is not.
    """
    credit, exact = np.asarray(credit, dtype=float), np.asarray(exact, dtype=float)
    if not len(words) == len(credit) == len(exact):
        raise ValueError(f"{len(words)} words, {len(credit)} credits and {len(exact)} exact advantages do not match")
    if chosen not in bias_and_noise:
        raise ValueError(f"chosen must be one of {', '.join(bias_and_noise)}; got {chosen!r}")
    figure = Figure(figsize=(9.2, 3.3), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
    _credit_of_words(left, words, credit, exact)
    left.set_title(title)
    _bias_and_noise(right, bias_and_noise, chosen)
    parts = ", ".join(f"“{w}” {c:.2f} (exact {e:.2f})" for w, c, e in zip(words, credit, exact, strict=True))
    bias, noise = bias_and_noise[chosen]
    figure.set_label(
        f"{title}. Credit of each word: {parts}. With {chosen}, over all sentences, bias is {bias:.2f} and noise "
        f"{noise:.2f} times the length of the gradient."
    )
    return figure


def _credit_of_words(axes: Axes, words: Sequence[str], credit: NDArray[np.float64], exact: NDArray[np.float64]) -> None:
    places = np.arange(len(words))
    axes.bar(places, credit, 0.6, color=BLUE, edgecolor=INK, linewidth=0.6, label="credit given")
    axes.plot(places, exact, "D", color=VERMILLION, markeredgecolor=INK, label="exact advantage", markersize=7)
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.set_xticks(places, [f"“{word}”" for word in words], fontsize=11)
    reach = 1.1 * max(1.0, np.abs(credit).max(), np.abs(exact).max())
    axes.set(ylabel="weight of ∇log π", ylim=(-reach, reach))
    axes.legend(frameon=False, loc="lower right", ncols=2)


def _bias_and_noise(axes: Axes, bias_and_noise: Mapping[str, tuple[float, float]], chosen: str) -> None:
    for index, (name, (bias, noise)) in enumerate(bias_and_noise.items()):
        here, side = name == chosen, -1 if index % 2 else 1  # names left and right in turn: points may lie close
        axes.plot(
            bias, noise, "o", color=VERMILLION if here else "white", markeredgecolor=INK, markersize=11 if here else 7
        )
        axes.annotate(
            name,
            (bias, noise),
            xytext=(9 * side, 0),
            textcoords="offset points",
            ha="left" if side > 0 else "right",
            va="center",
            fontsize=9,
            weight="bold" if here else "normal",
            color=INK if here else GREY,
        )
    axes.set(title="The same choice, over all sentences", xlabel="bias / ‖∇J‖", ylabel="noise of one episode / ‖∇J‖")
    widest = max(0.25, max(bias for bias, _ in bias_and_noise.values()))
    axes.set_xlim(-0.3 * widest, 1.3 * widest)
    axes.set_ylim(0, 1.15 * max(noise for _, noise in bias_and_noise.values()))
    axes.grid(True)
