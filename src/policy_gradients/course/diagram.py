"""The five steps of every policy gradient as one picture, with the step that a notebook changes lit up.

show(five_steps("02_baselines"))
"""

import matplotlib
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from policy_gradients.course.figures import BLUE, GREY, INK, PALE, STYLE

STEPS = ("rollout", "reward", "advantage", "log-prob", "loss, update")
MEANT = ("sample from π", "r, a number", "A: better than…?", "log π(a)", "−A · log π, a step")

# notebook -> (the step that is new in it, its line)
NEW = {
    "01_reinforce_on_a_bandit": (5, "loss = -(rewards * log_probs).mean()"),
    "02_baselines": (3, "advantages = rewards - baseline"),
    "03_credit_and_long_horizons": (3, "advantages = credit of each step, not of the episode"),
    "04_natural_gradient": (5, "step = solve(fisher + damping * I, gradient)"),
    "05_grpo_from_scratch": (3, "advantages = (rewards - group mean) / (group std + 1e-4)"),
    "06_grpo_on_a_t4": (2, "reward = checker(completion), priced with KL to the reference"),
    "07_evaluation": (1, "rollout on prompts that no training saw, and intervals"),
    "08_ablations": (5, "loss = policy loss - weight * entropy: which weight, and how would we know?"),
    "09_open_questions": (3, "advantages = rewards - mean of peers: who may be a peer?"),
    "10_deploy": (1, "the rollout is a server's: is it still sampled from π?"),
}


@matplotlib.rc_context(STYLE)
def five_steps(notebook: str | None = None) -> Figure:
    """The loop, left to right and back; the label is the alt text.

    Args:
        notebook: whose new step is lit, with its line below it; without, none is.

    Raises:
        ValueError: a notebook that is not in `NEW`.
    """
    if notebook is not None and notebook not in NEW:
        raise ValueError(f"notebook must be one of {', '.join(NEW)}; got {notebook!r}")
    lit, line = NEW[notebook] if notebook else (0, "")
    figure = Figure(figsize=(9.6, 2.6))
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, 10), ylim=(0, 2.7))
    axes.set_axis_off()
    for i, (step, meant) in enumerate(zip(STEPS, MEANT, strict=True), start=1):
        left, on = 2 * i - 1.85, i == lit
        look = {"facecolor": BLUE if on else "white", "edgecolor": INK if on else GREY, "linewidth": 2.2 if on else 1}
        axes.add_patch(FancyBboxPatch((left, 1.35), 1.5, 0.9, boxstyle="round,pad=0,rounding_size=0.12", **look))
        ink = "white" if on else INK
        axes.text(left + 0.75, 1.95, f"({i}) {step}", ha="center", va="center", color=ink, weight="bold", fontsize=10.5)
        axes.text(left + 0.75, 1.6, meant, ha="center", va="center", color=ink, fontsize=9)
        if i < len(STEPS):
            axes.add_patch(_arrow((left + 1.52, 1.8), (left + 1.98, 1.8)))
    axes.add_patch(_arrow((8.9, 1.33), (0.9, 1.33), connectionstyle="bar,fraction=-0.05"))
    axes.text(4.9, 0.72, "the new policy", ha="center", va="center", color=INK, fontsize=9.5, backgroundcolor="white")
    said = "A loop of five steps: " + ", ".join(f"({i}) {step}" for i, step in enumerate(STEPS, 1)) + ", and again."
    if lit:
        axes.text(
            5, 0.25, f"new here, in step ({lit}):   {line}", ha="center", va="center", family="DejaVu Sans Mono",
            fontsize=10, color=INK, bbox={"facecolor": PALE, "edgecolor": "none", "boxstyle": "round,pad=0.35"},
        )  # fmt: skip
        said += f" New in this notebook is step ({lit}), {STEPS[lit - 1]}: {line}"
    figure.set_label(said)
    return figure


def _arrow(start: tuple[float, float], end: tuple[float, float], **more: str) -> FancyArrowPatch:
    return FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=13, color=GREY, linewidth=1.4, **more)
