"""LoRA: train small low-rank updates beside frozen weights (Hu et al. 2021, arXiv:2106.09685), through `peft`."""

import copy

import torch
from transformers import PreTrainedModel

from policy_gradients.language.limits import ModelError


def with_adapters(model: PreTrainedModel, rank: int, seed: int) -> PreTrainedModel:
    """A policy that starts equal to `model` and shares its weights, all frozen: only its adapters are trained.

    `model` is frozen and stays as it is, so that it serves as the reference at no cost in memory.

    Args:
        rank: of each update B A, which is scaled by 2; B starts at zero.
        seed: of the random A.

    Raises:
        ModelError: peft is not installed.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise ModelError("lora_rank needs the package peft; `pip install peft`, or train all weights") from None
    # what deepcopy finds in its memo it does not copy: new modules around the same weights
    policy = copy.deepcopy(model, {id(p): p for p in model.parameters()})
    settings = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inject_adapter_in_model(settings, policy)
    return policy


def merge_adapters(model: PreTrainedModel) -> None:
    """Add the adapters of `with_adapters` to weights of the model's own, and take them out; else do nothing."""
    if not any("lora_" in name for name, _ in model.named_parameters()):
        return
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, layer in list(model.named_modules()):
        if isinstance(layer, BaseTunerLayer):
            base = layer.get_base_layer()
            # a new tensor: the old one may be the reference's too
            base.weight = torch.nn.Parameter((base.weight + layer.get_delta_weight("default")).detach())
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, base)
