"""Sampled at one temperature, scored at another: what the scores disagree about, and where the gradient goes."""

import matplotlib
import torch
from matplotlib.figure import Figure
from torch import Tensor

from policy_gradients.course.figures import BLUE, INK, ORANGE, STYLE, VERMILLION
from policy_gradients.course.widgets.explorer import Control, Explorer
from policy_gradients.estimators.log_probs import entropy, kl_divergence

LOGITS = torch.tensor([2.0, 1.4, 0.8, 0.2, -0.4, -1.0], dtype=torch.float64)  # of six tokens
REWARDS = torch.tensor([0.3, 0.5, 1.0, 0.5, 0.3, 0.1], dtype=torch.float64)
TEMPERATURES = (0.3, 0.5, 0.7, 0.85, 1.0, 1.2, 1.5, 2.0)
CONTROLS = {
    "sampled": Control("sampled at temperature", TEMPERATURES, 0.7),
    "scored": Control("scored at temperature", TEMPERATURES, 1.0),
}


def temperature_explorer(**start: float) -> Explorer:
    """Sliders: the sampler's temperature and the trainer's."""
    return Explorer(temperature_figure, CONTROLS, **start)


def temperature_facts(sampled: float, scored: float) -> dict[str, float | Tensor]:
    """Everything exact: `mismatch` (mean |log π_scored − log π_sampled| of a sampled token, nats), `kl` of the two,
    their `entropy`, the `expected` update of the logits with the mean reward as baseline, and the `true` gradient of
    the policy that is scored."""
    drawn, trained = (LOGITS / sampled).log_softmax(-1), (LOGITS / scored).log_softmax(-1)
    behaviour, pi = drawn.exp(), trained.exp()

    def update(weights: Tensor) -> Tensor:
        """Σ_a weights(a) A(a) ∇log π(a), by the logits at the scoring temperature."""
        signal = weights * (REWARDS - weights @ REWARDS)
        return (signal - signal.sum() * pi) / scored

    return {
        "mismatch": (behaviour * (trained - drawn).abs()).sum().item(),
        "kl": kl_divergence(drawn, trained).item(),
        "entropy": entropy(drawn).item(),
        "expected": update(behaviour),
        "true": update(pi),
    }


@matplotlib.rc_context(STYLE)
def temperature_figure(sampled: float = 0.7, scored: float = 1.0) -> Figure:
    """The two policies, and the update beside the true gradient; the label is the alt text."""
    facts = temperature_facts(sampled, scored)
    figure = Figure(figsize=(9.6, 3.1), layout="constrained")
    policies, updates = figure.subplots(1, 2)
    places = torch.arange(len(LOGITS)).numpy()
    both = [(sampled, "sampler", BLUE, ""), (scored, "trainer", "white", "///")]
    for side, (temperature, name, colour, hatch) in zip((-0.2, 0.2), both, strict=True):
        look = {"color": colour, "edgecolor": INK, "hatch": hatch, "linewidth": 0.6}
        policies.bar(places + side, (LOGITS / temperature).softmax(-1).numpy(), 0.4, label=name, **look)
    policies.set(title=f"Mismatch {facts['mismatch']:.2f} nats a token", ylim=(0, 1), ylabel="probability")
    for side, (name, colour, hatch) in zip(
        (-0.2, 0.2), [("expected", ORANGE, ""), ("true", "white", "...")], strict=True
    ):
        look = {"color": colour, "edgecolor": INK, "hatch": hatch, "linewidth": 0.6}
        label = "update, as sampled" if name == "expected" else "gradient of the trainer's policy"
        updates.bar(places + side, facts[name].numpy(), 0.4, label=label, **look)
    updates.axhline(0, color=INK, linewidth=0.8)
    cosine = torch.nn.functional.cosine_similarity(facts["expected"], facts["true"], dim=0).item()
    updates.set(title=f"Where the logits go (cosine {cosine:.2f})", ylabel="change of the logit")
    updates.margins(y=0.25)
    best = int(REWARDS.argmax())
    updates.text(
        best, 0.02, "best", ha="center", color=VERMILLION, fontsize=8.5, transform=updates.get_xaxis_transform()
    )
    for axes in (policies, updates):
        axes.set_xticks(places)
        axes.legend(frameon=False, fontsize=8)
    figure.set_label(
        f"Six tokens, sampled at temperature {sampled:g} and scored at {scored:g}. The log-probs differ by "
        f"{facts['mismatch']:.3f} nats a sampled token, the policies by a KL of {facts['kl']:.3f} nats; the sampler's "
        f"entropy is {facts['entropy']:.2f} nats. The expected update of the logits has cosine {cosine:.2f} with the "
        f"gradient of the policy that is trained."
    )
    return figure
