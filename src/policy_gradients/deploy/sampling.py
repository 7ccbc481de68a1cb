"""Which sampler wrote these tokens? Found out from the tokens alone, by the likelihood of each usual setting."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

MIXED = 0.02  # share of the policy in every candidate: a rounded model's choice may lie just outside
NAMED_FROM = 10.0  # nats
END_LOST = "the end token is lost: it never ends a completion where the policy would"
Setting = Callable[[Tensor], Tensor]
"""Logits (tokens, vocabulary) → log-probs of the next token under a setting, -inf where it never goes."""


def top_k(logits: Tensor, k: int) -> Tensor:
    """The k likeliest tokens."""
    kept = logits.topk(min(k, logits.shape[-1]), dim=-1).values[:, -1:]
    return logits.masked_fill(logits < kept, -torch.inf)


def top_p(logits: Tensor, p: float) -> Tensor:
    """The fewest likeliest tokens whose probabilities reach p."""
    ordered, places = logits.softmax(-1).sort(-1, descending=True)
    outside = (ordered.cumsum(-1) - ordered >= p).gather(-1, places.argsort(-1))
    return logits.masked_fill(outside, -torch.inf)


def min_p(logits: Tensor, p: float) -> Tensor:
    """Tokens at least p times as probable as the likeliest."""
    log_probs = logits.log_softmax(-1)
    return logits.masked_fill(log_probs < log_probs.amax(-1, keepdim=True) + torch.tensor(p).log(), -torch.inf)


def settings(temperature: float, end_ids: list[int]) -> dict[str, Setting]:
    """The settings that servers are known to apply unasked, by what is said of them."""

    def without_end(logits: Tensor) -> Tensor:
        return logits.index_fill(-1, torch.tensor(end_ids, device=logits.device), -torch.inf) / temperature

    found: dict[str, Setting] = {
        "greedy: it always takes the likeliest token (temperature 0, or do_sample off)": lambda x: top_k(x, 1),
        END_LOST: without_end,
        "llama.cpp's own defaults: temperature 0.8, top_k 40, top_p 0.95, min_p 0.05": lambda x: (
            min_p(top_p(top_k(x, 40), 0.95), 0.05) / 0.8
        ),
        "llama.cpp's own filters: top_k 40, top_p 0.95, min_p 0.05": lambda x: (
            min_p(top_p(top_k(x, 40), 0.95), 0.05) / temperature
        ),
    }
    for k in (20, 40, 50):
        found[f"top_k {k}: it never goes below the {k} likeliest tokens"] = lambda x, k=k: top_k(x, k) / temperature
    for p in (0.8, 0.9, 0.95):
        found[f"top_p {p}: it cuts the tail off"] = lambda x, p=p: top_p(x, p) / temperature
    for p in (0.05, 0.1):
        found[f"min_p {p}: it cuts the tail off"] = lambda x, p=p: min_p(x, p) / temperature
    for factor in (0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 1.2, 1.5, 2.0):
        other = factor * temperature
        found[f"temperature {other:.2g} where training sampled at {temperature:g}"] = lambda x, t=other: x / t
    return found


@dataclass
class SamplerTest:
    """Log-likelihood of sampled tokens under each setting, less that under the policy, summed as tokens come in.

    If the tokens are the policy's own, the ratio of likelihoods exceeds e^10 with probability e^-10 at most, for each
    setting (Ville 1939): a setting that is named was not named by chance.
    """

    temperature: float
    end_ids: list[int]

    def __post_init__(self) -> None:
        self._settings = settings(self.temperature, self.end_ids)
        self.gains: dict[str, float] = dict.fromkeys(self._settings, 0.0)

    def add(self, logits: Tensor, tokens: Tensor) -> None:
        """Logits of the policy, (tokens, vocabulary), and what the server chose there, (tokens,)."""
        own = self._log_probs(logits / self.temperature, tokens)
        for name, setting in self._settings.items():
            theirs = self._log_probs(setting(logits.clone()), tokens)
            mixed = torch.logaddexp(theirs + torch.tensor(1 - MIXED).log(), own + torch.tensor(MIXED).log())
            self.gains[name] += (mixed - own).sum().item()

    @staticmethod
    def _log_probs(scaled: Tensor, tokens: Tensor) -> Tensor:
        return scaled.double().log_softmax(-1).gather(-1, tokens.unsqueeze(-1)).squeeze(-1)

    def named(self, slack: float = 0.0) -> str | None:
        """The setting that explains the tokens best, if it does so by 10 nats; `slack` more where weights differ."""
        best = max(self.gains, key=self.gains.__getitem__)
        return best if self.gains[best] > NAMED_FROM + slack else None
