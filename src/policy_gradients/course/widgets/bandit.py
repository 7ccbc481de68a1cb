"""REINFORCE on a bandit with three arms: what the step size, an offset of all rewards, and noise do to learning."""

from functools import lru_cache

import matplotlib
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from torch import Tensor

from policy_gradients.course.figures import BLUE, DASHES, GREEN, GREY, ORANGE, STYLE
from policy_gradients.course.widgets.explorer import Control, Explorer
from policy_gradients.estimators.advantages import Baseline, group_advantages
from policy_gradients.estimators.log_probs import log_probs_and_entropy
from policy_gradients.estimators.losses import policy_gradient_loss

MEANS = (0.2, 0.5, 0.8)  # of the arms' rewards
UPDATES, BATCH, RUNS = 120, 8, 24

CONTROLS = {
    "learning_rate": Control("learning rate", (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0), 0.5),
    "offset": Control("added to every reward", (-10.0, -3.0, 0.0, 3.0, 10.0), 0.0),
    "noise": Control("noise of a reward", (0.0, 0.1, 0.3, 1.0, 3.0), 0.3),
    "baseline": Control("baseline", (("none", "none"), ("leave one out", "leave_one_out")), "none"),
}


def bandit_board(**start: float | str) -> Explorer:
    """Sliders: learning rate, an offset of all rewards, their noise; and whether there is a baseline."""
    return Explorer(bandit_figure, CONTROLS, **start)


@lru_cache(maxsize=256)  # a slider goes back and forth
def learn(learning_rate: float, offset: float, noise: float, baseline: Baseline, seed: int = 0) -> Tensor:
    """REINFORCE from even odds; probabilities of the arms before each update and at the end, (updates + 1, runs, arms).

    Every run sees a batch of 8 actions an update. The same seed gives the same draws at every setting.
    """
    generator = torch.Generator().manual_seed(seed)
    means = torch.tensor(MEANS)
    logits = torch.zeros(RUNS, len(MEANS), requires_grad=True)
    history = [logits.detach().softmax(-1)]
    for _ in range(UPDATES):
        actions = torch.multinomial(history[-1], BATCH, replacement=True, generator=generator)
        rewards = means[actions] + offset + noise * torch.randn(RUNS, BATCH, generator=generator)
        log_probs, _ = log_probs_and_entropy(logits.unsqueeze(1).expand(-1, BATCH, -1), actions)
        loss = policy_gradient_loss(log_probs, group_advantages(rewards, baseline)).mean(1).sum()
        [gradient] = torch.autograd.grad(loss, logits)
        # beyond ±30 a probability is 0 or 1 to the last digit, and float32 would overflow in time
        logits = (logits.detach() - learning_rate * gradient).clamp(-30, 30).requires_grad_()
        history.append(logits.detach().softmax(-1))
    return torch.stack(history)


@matplotlib.rc_context(STYLE)
def bandit_figure(
    learning_rate: float = 0.5, offset: float = 0.0, noise: float = 0.3, baseline: Baseline = "none"
) -> Figure:
    """Left, one run and the mean of all; right, where each of the runs ended. The label is the alt text."""
    probabilities = learn(learning_rate, offset, noise, baseline)
    figure = Figure(figsize=(9.6, 3.3), layout="constrained")
    curves, ends = figure.subplots(1, 2, width_ratios=(1.5, 1), sharey=True)
    best = probabilities[..., -1]
    for run in best.T:
        curves.plot(run.numpy(), color=GREY, linewidth=0.5, alpha=0.4)
    looks = list(zip((ORANGE, BLUE, GREEN), DASHES[::-1][1:], MEANS, strict=True))
    for arm, (colour, dashes, mean) in enumerate(looks):
        average = probabilities[:, :, arm].mean(1).numpy()
        curves.plot(average, color=colour, linestyle=dashes, linewidth=2.2, label=f"arm that pays {mean:g}")
    curves.set(title=f"Probability of each arm, mean of {RUNS} runs", xlabel="update", ylim=(-0.02, 1.02))
    curves.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    figure.legend(
        loc="outside lower left", ncols=len(MEANS), fontsize=8, frameon=False
    )  # on no curve, wherever they go

    final = best[-1].sort().values.numpy()
    ends.bar(range(1, RUNS + 1), final, color=GREEN, edgecolor="white")
    ends.set(title="The best arm at the end, run by run", xlabel="runs, sorted")
    ends.grid(True, axis="y")

    lost = int((best[-1] < 0.05).sum())
    worth = (probabilities[-1] @ torch.tensor(MEANS)).mean().item()
    pays = ", ".join(f"{mean:g}" for mean in MEANS)
    figure.set_label(
        f"REINFORCE on three arms that pay {pays}, plus {offset:g} each, with noise {noise:g}, learning rate "
        f"{learning_rate:g} and baseline {baseline.replace('_', ' ')}. After {UPDATES} updates the best arm has "
        f"probability {best[-1].mean():.0%} on average over {RUNS} runs; {lost} runs have all but given it up (below "
        f"5 %). Mean reward without offset: {worth:.2f}."
    )
    return figure
