"""What credit by a summary of the past does to the gradient: every text of a small tree, enumerated."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class CreditGradients:
    """∇J of one policy by three ways, each flat, (parameters,).

    Attributes:
        exact: of J, by differentiating the enumerated expectation.
        by_prefix: Σ d Σ_a ∇π(a) Q with Q of the whole prefix: the policy-gradient theorem.
        by_state: the same with Q(prefix, a) replaced by the mean value of all prefixes that share the state after a.
        objective: J.
    """

    exact: Tensor
    by_prefix: Tensor
    by_state: Tensor
    objective: float

    def angle(self) -> float:
        """Degrees between `by_state` and ∇J."""
        cosine = torch.nn.functional.cosine_similarity(self.by_state, self.exact, dim=0)
        return torch.rad2deg(torch.arccos(cosine.clamp(-1, 1))).item()


def credit_gradients(logits: Sequence[Tensor], after: Tensor, ended: Tensor, start: int = 0) -> CreditGradients:
    """The gradients of a policy with its own logits at every prefix, where a checker remembers a state of it.

    Args:
        logits: one tensor for each number k of tokens that a prefix has, ((A^k), A + 1): A tokens that go on, and last
            the one that ends. Prefixes of one length are in the order of their tokens, the first one slowest.
        after: (states, A): where each token leads.
        ended: (states,): what it earns to end there. A completion that has not ended after all levels earns nothing.
        start: the state of the empty text.

    Raises:
        ValueError: levels that do not have A times as many prefixes as the one before.
    """
    tokens = after.shape[1]
    if any(level.shape != (tokens**k, tokens + 1) for k, level in enumerate(logits)):
        raise ValueError(f"level k needs the shape ({tokens}^k, {tokens + 1}), got {[tuple(x.shape) for x in logits]}")
    leaves = [level.detach().double().requires_grad_() for level in logits]
    policies = [leaf.softmax(-1) for leaf in leaves]
    states, reach = [torch.tensor([start])], [torch.ones(1, dtype=torch.float64)]
    for pi in policies:
        states.append(after[states[-1]].flatten())
        reach.append((reach[-1].unsqueeze(1) * pi.detach()[:, :-1]).flatten())
    ends = ended.double()
    values, qs = [torch.zeros(len(states[-1]), dtype=torch.float64)], []
    for pi, state in zip(reversed(policies), reversed(states[:-1]), strict=True):
        q = torch.cat([values[-1].view(-1, tokens), ends[state].unsqueeze(1)], 1)
        qs.append(q)
        values.append((pi * q).sum(1))
    objective = values[-1].sum()
    qs.reverse()

    # every level's prefixes count in one table, as completions of a batch do; those that were cut earn nothing
    everyone, chance = torch.cat(states), torch.cat(reach)
    worth = torch.cat([value.detach() for value in reversed(values)])
    total, weight = torch.zeros(2, len(after), dtype=torch.float64)
    total.index_add_(0, everyone, chance * worth)
    weight.index_add_(0, everyone, chance)
    table = total / weight.clamp(min=1e-300)

    def theorem(action_values: Sequence[Tensor]) -> Tensor:
        return sum(
            (d * (pi * q.detach()).sum(1)).sum() for d, pi, q in zip(reach[:-1], policies, action_values, strict=True)
        )

    by_table = [
        torch.cat([table[following.view(-1, tokens)], q[:, -1:]], 1)
        for following, q in zip(states[1:], qs, strict=True)
    ]
    exact, by_prefix, by_state = (
        torch.cat([g.flatten() for g in torch.autograd.grad(loss, leaves, retain_graph=True)])
        for loss in (objective, theorem(qs), theorem(by_table))
    )
    return CreditGradients(exact, by_prefix, by_state, objective.item())
