"""Step 1: play a policy in any world, many episodes side by side."""

import math

import numpy as np
import torch
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode, VectorEnv
from torch import Generator, Tensor

from policy_gradients.estimators.trajectories import Trajectories
from policy_gradients.worlds.policies import Policy


@torch.no_grad()
def rollout(
    env: VectorEnv, policy: Policy, theta: Tensor, generator: Generator, max_steps: int | None = None
) -> Trajectories:
    """One episode in each of the environments, padded to the longest.

    Args:
        env: any vector environment of gymnasium, or one of this room's (`mdp.env(64)`, `Reach(64)`).
        policy, theta: θ of shape (*copies, parameters); the environments are divided evenly among the copies.
        generator: source of all randomness, the environment's seed included.
        max_steps: cut every episode here; needed where nothing else ends or cuts it.

    Returns:
        Trajectories of shape (*copies, episodes, time), without scores (`policy.scores` has them). A bounded action is
        given to the environment clipped, and recorded as it was sampled.

    Raises:
        ValueError: environments that do not divide among the copies, max_steps < 1, environments that start the next
            episode in the step that ends one (`AutoresetMode.SAME_STEP`): the last observation is not among theirs.
    """
    if env.metadata.get("autoreset_mode") == AutoresetMode.SAME_STEP:
        raise ValueError("environments must not reset in the step that ends an episode; take AutoresetMode.NEXT_STEP")
    copies = theta.shape[:-1]
    if env.num_envs % math.prod(copies):
        raise ValueError(f"{env.num_envs} environments do not divide among copies {tuple(copies)}")
    if max_steps is not None and max_steps < 1:
        raise ValueError(f"max_steps must be at least 1, got {max_steps}")
    episodes = env.num_envs // math.prod(copies)
    first, _ = env.reset(seed=int(torch.randint(2**31 - 1, (), generator=generator)))
    as_numpy = isinstance(first, np.ndarray)

    def split(values: Tensor | np.ndarray) -> Tensor:
        values = torch.as_tensor(values)
        values = values.to(theta.dtype) if values.is_floating_point() else values
        return values.reshape(*copies, episodes, *values.shape[1:])

    observation, going = split(first), torch.ones(*copies, episodes, dtype=torch.bool)
    terminated, last = torch.zeros_like(going), observation
    observations, actions, rewards, mask = [], [], [], []
    while going.any() and (max_steps is None or len(mask) < max_steps):
        action = policy.sample(theta, observation, generator)
        flat = action.flatten(0, len(copies))
        following, reward, ended, cut, _ = env.step(_for_numpy(flat, env) if as_numpy else flat)
        observations.append(observation)
        actions.append(action)
        rewards.append(split(reward) * going)
        mask.append(going.to(theta.dtype))
        observation = split(following)
        last = torch.where(going.reshape(*going.shape, *[1] * (observation.dim() - going.dim())), observation, last)
        terminated |= going & split(ended)
        going = going & ~split(ended) & ~split(cut)
    time = len(copies) + 1
    return Trajectories(
        torch.stack(observations, time),
        torch.stack(actions, time),
        torch.stack(rewards, time),
        torch.stack(mask, time),
        last_observations=last,
        terminated=terminated,
    )


def _for_numpy(actions: Tensor, env: VectorEnv) -> np.ndarray:
    space, values = env.single_action_space, actions.numpy()
    return np.clip(values, space.low, space.high).astype(space.dtype) if isinstance(space, Box) else values
