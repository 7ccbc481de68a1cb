"""A model in shares: each process keeps a part of every block (FSDP2), for models too large to hold it all."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers import PreTrainedModel

from policy_gradients.language.models import blocks_of


def shard_blocks(model: PreTrainedModel, device: torch.device) -> None:
    """Give each process its share of the weights of each block; a block is whole only while it computes.

    Embeddings, head and last norm stay whole on every process; `average_replicated` keeps them alike.

    Raises:
        ImportError: torch is older than 2.6.
    """
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    for block in blocks_of(model):
        fully_shard(block, mesh=mesh, reshard_after_forward=True)


@contextmanager
def whole(model: nn.Module) -> Iterator[None]:
    """Every block whole on every process for a while: to sample, when one process needs more steps than another."""
    from torch.distributed.fsdp import FSDPModule

    blocks = [part for part in model.modules() if isinstance(part, FSDPModule)]
    for block in blocks:
        block.set_reshard_after_forward(False)
        block.unshard()
    try:
        yield
    finally:
        for block in blocks:
            block.set_reshard_after_forward(True)
            block.reshard()


def average_replicated(parameters: Iterable[nn.Parameter]) -> None:
    """The mean over processes of the gradients of whole parameters; those of shares are means already."""
    for parameter in parameters:
        if parameter.grad is not None and not isinstance(parameter.grad, DTensor):
            dist.all_reduce(parameter.grad)
            parameter.grad /= dist.get_world_size()


@torch.no_grad()
def clip_shares(parameters: Iterable[nn.Parameter], max_norm: float) -> Tensor:
    """As `torch.nn.utils.clip_grad_norm_`, where some gradients are shares and others whole: the norm before."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    shares = [gradient.to_local() for gradient in gradients if isinstance(gradient, DTensor)]
    others = [gradient for gradient in gradients if not isinstance(gradient, DTensor)]
    square = sum(share.square().sum() for share in shares)
    dist.all_reduce(square)
    norm = (square + sum(gradient.square().sum() for gradient in others)).sqrt()
    for gradient in [*shares, *others]:
        gradient *= (max_norm / (norm + 1e-6)).clamp(max=1)
    return norm


def parameter_groups(parameters: Iterable[nn.Parameter]) -> list[dict[str, Any]]:
    """For an optimiser, which handles the tensors of a group at once: shares and whole ones do not mix."""
    groups: dict[bool, list[nn.Parameter]] = {}
    for parameter in parameters:
        groups.setdefault(isinstance(parameter, DTensor), []).append(parameter)
    return [{"params": group} for group in groups.values()]


def gathered(value: Tensor) -> Tensor:
    """The whole of a share, on the CPU; every process has to ask for it."""
    return (value.full_tensor() if isinstance(value, DTensor) else value).detach().cpu().contiguous()


def share_like(value: Tensor, like: Tensor) -> Tensor:
    """This process's share of a whole value, as `like` is one; the value itself if `like` is whole, or if it is of
    another shape, as Adam's count of steps is."""
    if not isinstance(like, DTensor) or value.shape != like.shape:
        return value
    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements)
