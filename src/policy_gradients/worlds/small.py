"""The small worlds of the course, each the smallest that shows its point."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import product

import torch

from policy_gradients.worlds.tabular import Noise, TabularMDP


def bernoulli_bandit(probabilities: Sequence[float]) -> TabularMDP:
    """One state; arm k pays 1 with probability p_k, else 0."""
    return _bandit(probabilities, noise="bernoulli")


def gaussian_bandit(means: Sequence[float], std: float = 1.0) -> TabularMDP:
    """One state; arm k pays a normal reward around its mean. std = 0 pays the mean itself."""
    return _bandit(means, noise="gaussian" if std else "none", reward_std=float(std))


def two_step(gamma: float = 0.5) -> TabularMDP:
    """Two steps whose states share one row of parameters: without γ^t the gradient points the wrong way.

    Action 1 earns +1 at the first step and -1.5 at the second. At even odds, with γ = ½, the gradient of the logit of
    action 1 is ¼ (1 - ½ · 1.5) = +0.0625; the sum without γ^t is ¼ (1 - 1.5) = -0.125.
    """
    transitions = torch.zeros(2, 2, 2, dtype=torch.float64)
    transitions[0, :, 1] = 1
    rewards = torch.tensor([[0.0, 1.0], [0.0, -1.5]], dtype=torch.float64)
    return TabularMDP(transitions, rewards, _one_hot(0, 2), gamma, max_steps=2, rows=torch.tensor([0, 0]))


def chain(length: int = 5, slip: float = 0.1, gamma: float = 0.9) -> TabularMDP:
    """A corridor: action 1 goes right, 0 left, and with probability `slip` the other way. Leaving it on the right pays
    1 and ends the episode; the left end is a wall.
    """
    if length < 1 or not 0 <= slip <= 1:
        raise ValueError(f"chain needs length ≥ 1 and slip in [0, 1], got {length} and {slip}")
    transitions = torch.zeros(length, 2, length, dtype=torch.float64)
    rewards = torch.zeros(length, 2, dtype=torch.float64)
    for state in range(length):
        for action, right in ((0, slip), (1, 1 - slip)):
            transitions[state, action, max(state - 1, 0)] += 1 - right
            if state + 1 < length:
                transitions[state, action, state + 1] += right
            else:
                rewards[state, action] = right
    return TabularMDP(transitions, rewards, _one_hot(0, length), gamma)


def short_corridor() -> TabularMDP:
    """Three places that look alike to the policy; each step costs 1, and beyond the last one is the exit.

    Action 1 goes right and 0 left, but in the middle place the two are exchanged. A policy that always does the same
    never gets out; the best chance of action 1 is 2 - √2, with J = -(6 + 4√2) (Sutton & Barto 2018, Example 13.1).
    """
    transitions = torch.zeros(3, 2, 3, dtype=torch.float64)
    transitions[0, 0, 0] = transitions[0, 1, 1] = 1  # a wall on the left
    transitions[1, 0, 2] = transitions[1, 1, 0] = 1  # exchanged
    transitions[2, 0, 1] = 1  # action 1 leaves
    return TabularMDP(transitions, -torch.ones(3, 2, dtype=torch.float64), _one_hot(0, 3), rows=torch.zeros(3).long())


def mixing_chain(stickiness: float = 0.5) -> TabularMDP:
    """Three states on a ring, for ever: the world of the average reward, and of GPOMDP.

    With probability `stickiness` nothing moves, so that an action's effect lasts; else action 1 goes round one way and
    action 0 the other. Arriving in state 2 pays 1, in state 1 -0.2, in state 0 nothing. The closer `stickiness` is to
    1, the longer the chain takes to mix, and the closer β must come to 1.
    """
    if not 0 <= stickiness < 1:
        raise ValueError(f"stickiness must lie in [0, 1), got {stickiness}")
    transitions = torch.zeros(3, 2, 3, dtype=torch.float64)
    for state in range(3):
        for action, move in ((0, -1), (1, 1)):
            transitions[state, action, state] += stickiness
            transitions[state, action, (state + move) % 3] += (1 - stickiness) * 0.8
            transitions[state, action, (state - move) % 3] += (1 - stickiness) * 0.2
    rewards = transitions @ torch.tensor([0.0, -0.2, 1.0], dtype=torch.float64)
    return TabularMDP(transitions, rewards, torch.full((3,), 1 / 3, dtype=torch.float64), gamma=0.99)


def two_states() -> TabularMDP:
    """Kakade's two states (NIPS 14, §4): each may be stayed in, for 1 and for 2 a step, or left, for nothing.

    The start favours the worse one (0.8), and staying there is rewarded at once: the vanilla gradient reinforces it and
    stays on a plateau for long; the natural gradient does not. Discounted by 0.95 here; his is the average reward.
    """
    transitions = torch.zeros(2, 2, 2, dtype=torch.float64)
    transitions[0, 0, 0] = transitions[1, 0, 1] = 1  # action 0 stays
    transitions[0, 1, 1] = transitions[1, 1, 0] = 1  # action 1 leaves
    rewards = torch.tensor([[1.0, 0.0], [2.0, 0.0]], dtype=torch.float64)
    return TabularMDP(transitions, rewards, torch.tensor([0.8, 0.2], dtype=torch.float64), gamma=0.95)


@dataclass(frozen=True)
class TokenTree(TabularMDP):
    """Every text of a tiny vocabulary: a state is a prefix, an action appends a token.

    Attributes:
        prefixes: the tokens of each state, `()` first.
        eos: the token that ends a text, None where only the horizon does.
    """

    prefixes: tuple[tuple[int, ...], ...] = field(default=(), repr=False)
    eos: int | None = None


def token_tree(
    vocabulary: int, horizon: int, reward: Callable[[tuple[int, ...]], float], eos: bool = True, noise: Noise = "none"
) -> TokenTree:
    """A world of whole texts that are rewarded once, at their end: a language model small enough to enumerate.

    Args:
        vocabulary: number of tokens, the end token included; that one is the last, `vocabulary - 1`.
        horizon: a text is cut after so many tokens.
        reward: of a finished text, a tuple of tokens, the end token included if it was sampled.
        eos: whether there is an end token at all.
        noise: as in `TabularMDP`.

    Raises:
        ValueError: fewer than two tokens, horizon < 1, more than 2000 prefixes.
    """
    if vocabulary < 2 or horizon < 1:
        raise ValueError(f"token_tree needs vocabulary ≥ 2 and horizon ≥ 1, got {vocabulary} and {horizon}")
    end = vocabulary - 1 if eos else None
    symbols = range(vocabulary - eos)
    if (count := sum(len(symbols) ** length for length in range(horizon))) > 2000:
        raise ValueError(f"{count} prefixes are too many: at most 2000 (vocabulary {vocabulary}, horizon {horizon})")
    prefixes = [text for length in range(horizon) for text in product(symbols, repeat=length)]
    index = {prefix: state for state, prefix in enumerate(prefixes)}
    transitions = torch.zeros(len(prefixes), vocabulary, len(prefixes), dtype=torch.float64)
    rewards = torch.zeros(len(prefixes), vocabulary, dtype=torch.float64)
    for prefix, state in index.items():
        for token in range(vocabulary):
            text = (*prefix, token)
            if token == end or len(text) == horizon:
                rewards[state, token] = reward(text)
            else:
                transitions[state, token, index[text]] = 1
    start = _one_hot(0, len(prefixes))
    return TokenTree(transitions, rewards, start, max_steps=horizon, noise=noise, prefixes=tuple(prefixes), eos=end)


def early_token(values: Sequence[float], horizon: int) -> TabularMDP:
    """`horizon` tokens, one reward after the last: values[first token]. All others are bystanders.

    A state is (time, first token); the policy of `softmax_policy` sees the time alone, so its θ has shape
    (horizon, tokens) when unflattened. The exact gradient is zero in all rows but the first.

    Raises:
        ValueError: fewer than two tokens, horizon < 1, more than 2500 states.
    """
    tokens = len(values)
    states = 1 + tokens * (horizon - 1)
    if tokens < 2 or horizon < 1 or states > 2500:
        raise ValueError(f"early_token needs ≥ 2 values and 1 ≤ horizon ≤ 2500/values, got {tokens} and {horizon}")
    transitions = torch.zeros(states, tokens, states, dtype=torch.float64)
    rewards = torch.zeros(states, tokens, dtype=torch.float64)
    worth = torch.tensor(values, dtype=torch.float64)
    first = torch.arange(tokens)
    if horizon == 1:
        rewards[0] = worth
    else:
        transitions[0, first, 1 + first] = 1
        rewards[1 + tokens * (horizon - 2) + first] = worth[:, None]
        early = torch.arange(1, 1 + tokens * (horizon - 2))
        transitions[early, :, early + tokens] = 1
    times = torch.cat([torch.zeros(1, dtype=torch.long), torch.arange(1, horizon).repeat_interleave(tokens)])
    return TabularMDP(transitions, rewards, _one_hot(0, states), max_steps=horizon, rows=times)


def _bandit(means: Sequence[float], noise: Noise, reward_std: float = 0.0) -> TabularMDP:
    if len(means) < 2:
        raise ValueError(f"a bandit needs at least 2 arms, got {list(means)}")
    rewards = torch.tensor([list(means)], dtype=torch.float64)
    transitions = torch.zeros(1, len(means), 1, dtype=torch.float64)
    return TabularMDP(transitions, rewards, _one_hot(0, 1), max_steps=1, noise=noise, reward_std=reward_std)


def _one_hot(index: int, size: int) -> torch.Tensor:
    return torch.nn.functional.one_hot(torch.tensor(index), size).double()
