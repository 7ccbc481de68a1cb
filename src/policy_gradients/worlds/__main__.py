"""`python -m policy_gradients.worlds reach natural --seeds 10`: train on a control task, and say what was learnt.

Prints the return of the first and the last five batches, as the mean over seeds with a 95 % bootstrap interval, and the
median over seeds with its quartiles.
"""

import argparse

import torch
from gymnasium.vector import VectorEnv
from torch import Generator, Tensor

from policy_gradients.errors import run_module
from policy_gradients.worlds.control import Reach, control_env
from policy_gradients.worlds.policies import MLP, CategoricalPolicy, GaussianPolicy, Linear, Policy
from policy_gradients.worlds.training import (
    ActorCritic,
    NaturalActorCritic,
    NaturalGradient,
    Update,
    VanillaGradient,
    train_policy,
)

METHODS = ("vanilla", "natural", "natural-actor-critic", "actor-critic")
# task → episodes a batch, updates, learning rate of the vanilla gradient (the best of 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
TASKS = {"reach": (32, 60, 1e-2), "cartpole": (8, 60, 3e-3)}


def make(task: str, method: str, seeds: int, generator: Generator) -> tuple[VectorEnv, Policy, Tensor, Update]:
    """The world, the policy, where θ starts, and the update of a run of `seeds` copies."""
    episodes, _, learning_rate = TASKS[task]
    inputs = 4
    hidden = (32,) if method == "actor-critic" else ()
    network = MLP((inputs, *hidden, 2)) if hidden else Linear(inputs, 2)
    if task == "reach":
        env: VectorEnv = Reach(seeds * episodes)
        policy: Policy = GaussianPolicy(network)
    else:
        env, policy = control_env("CartPole-v1", seeds * episodes), CategoricalPolicy(network)
    theta = policy.initial(seeds, generator=generator)
    update: Update
    if method == "vanilla":
        update = VanillaGradient(policy, learning_rate)
    elif method == "natural":
        update = NaturalGradient(policy, max_kl=0.02)
    elif method == "natural-actor-critic":
        update = NaturalActorCritic(policy, max_kl=0.02)
    else:
        update = ActorCritic(policy, MLP((inputs, 32, 1)), generator, passes=4)
    return env, policy, theta, update


def bootstrap_interval(values: Tensor, generator: Generator, resamples: int = 10_000) -> tuple[float, float]:
    """95 % percentile interval of the mean, from resampled seeds, (seeds,)."""
    index = torch.randint(len(values), (resamples, len(values)), generator=generator)
    ends = torch.tensor([0.025, 0.975], dtype=values.dtype)
    low, high = values[index].mean(1).quantile(ends).tolist()
    return low, high


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m policy_gradients.worlds", description=__doc__.split("\n")[0])
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("method", choices=METHODS)
    parser.add_argument("--seeds", type=int, default=10, help="independent copies, side by side")
    parser.add_argument("--updates", type=int, help="default: 60")
    parser.add_argument("--seed", type=int, default=0, help="of the one generator behind all of them")
    options = parser.parse_args(arguments)
    if options.seeds < 2:
        parser.error(f"--seeds must be at least 2 for an interval, got {options.seeds}")
    generator = Generator().manual_seed(options.seed)
    env, policy, theta, update = make(options.task, options.method, options.seeds, generator)
    updates = options.updates or TASKS[options.task][1]
    history = train_policy(env, policy, theta, update, updates, generator)
    window = min(5, updates)
    for name, part in (("before", history.returns[:window]), ("after", history.returns[-window:])):
        values = part.mean(0)
        low, high = bootstrap_interval(values, generator)
        quartiles = values.quantile(torch.tensor([0.25, 0.5, 0.75], dtype=values.dtype)).tolist()
        print(
            f"{name:>6}: mean {values.mean():8.3f}  95 % interval [{low:.3f}, {high:.3f}]  "
            f"median {quartiles[1]:.3f}  quartiles [{quartiles[0]:.3f}, {quartiles[2]:.3f}]"
        )
    print(
        f"{options.seeds} seeds, {updates} updates, {history.steps[-1].double().mean():.0f} steps a seed, "
        f"{history.seconds[-1]:.1f} s for all of them"
    )


if __name__ == "__main__":
    run_module(main)
