"""Whether sampler, trainer and a model's own forward give one log-prob: found out at load, on uneven prompts.

The fast path (`attention`, `chunked`) knows transformers whose logits are hidden states times a matrix. Architectures
differ in ways that leave no error, only other numbers: scales, caps and biases after the head, attention that ignores
what it is told, convolutions and states that run on into the next sequence of a packed row.
"""

import logging
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from policy_gradients.language import packed, padded
from policy_gradients.language.chunked import score_tokens
from policy_gradients.language.decoding import Rollout, decode
from policy_gradients.language.limits import ModelError, position_limit

# held against their own forward by the tests, in every way that they are used here: not checked before every first use
PACKED_FAMILIES = ("qwen2", "llama", "gpt2")
TOLERANCE = 1e-4  # nats a token, in float32; weights of half the width differ by their own rounding
HALF_TOLERANCE = 0.1
PROMPT_LENGTHS, NEW_TOKENS, GROUP = (24, 5, 2, 11), 8, 2

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Agreement:
    """What the check found.

    Attributes:
        architecture: the class of the model.
        padded: False: the packed, shared-prefix path is the model's own forward; True: only the padded path is.
        difference: largest of a log-prob of sampler or trainer from the model's own forward on that path, in nats.
        packed_failure: why the packed path is not used; None if it is.
    """

    architecture: str
    padded: bool
    difference: float
    packed_failure: str | None = None


def is_padded(model: PreTrainedModel) -> bool:
    """Whether the model needs the plain path. One that nobody has checked is checked now.

    Raises:
        ModelError: no path of this library gives the model's own numbers.
    """
    known = padded.marked(model)
    if known is None and model.config.model_type not in PACKED_FAMILIES:
        known = check_agreement(model).padded
    return bool(known)


def check_agreement(model: PreTrainedModel, longest: int | None = None) -> Agreement:
    """Compare sampler, trainer and the model's own forward, and mark the model for the path on which they agree.

    Draws no global random numbers and leaves weights, mode and attention as they were.

    Args:
        longest: tokens that prompt and completion may have together in this run: windows of attention count from there.
            By default a few dozen.

    Raises:
        ModelError: they agree on neither path; the message names the architecture.
    """
    name, training, attention = type(model).__name__, model.training, model.config._attn_implementation
    device = next(model.parameters()).device
    model.eval()
    try:
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            failure, difference = _try(model, False, longest)
            if failure is None:
                return Agreement(name, False, difference)
            if model.config._attn_implementation != attention:
                model.config._attn_implementation = attention
            plain_failure, difference = _try(model, True, longest)
    finally:
        model.train(training)
        if model.config._attn_implementation != attention:
            model.config._attn_implementation = attention
    if plain_failure is not None:
        padded.unmark(model)
        raise ModelError(
            f"{name} is not supported: its log-probs could not be reproduced, neither packed ({failure}) nor by its "
            f"own forward on padded sequences ({plain_failure}); choose another model"
        )
    logger.warning("%s takes the padded path, which is right but slower: packed, %s", name, failure)
    return Agreement(name, True, difference, failure)


def _try(model: PreTrainedModel, plain: bool, longest: int | None) -> tuple[str | None, float]:
    """Why a path is wrong, None if it is right, and the largest difference found."""
    padded.mark(model, plain)
    try:
        prompts, uniforms, ends = _trial(model, longest)
        before = _own(model, prompts)
        rollout = decode(model, prompts, GROUP, uniforms, ends, 0, plain=plain)
        trained = _trained(model, rollout, plain)
        after = _own(model, prompts)
        own = own_log_probs(model, prompts, rollout)
    except Exception as error:  # every architecture raises its own kinds
        lines = str(error).strip().splitlines()
        return f"{type(error).__name__}: {lines[0] if lines else ''}"[:200], float("nan")
    if not own.isfinite().all():
        return "its own log-probs are not finite; are its weights whole?", float("nan")
    tolerance = TOLERANCE if next(model.parameters()).dtype in (torch.float32, torch.float64) else HALF_TOLERANCE
    pairs = {"sampler": (rollout.log_probs, own), "trainer": (trained, own), "forward": (before, after)}
    differences = {who: (a.float() - b.float()).abs().max().item() for who, (a, b) in pairs.items()}
    worst = max(differences, key=lambda who: differences[who])
    wrong = not differences[worst] <= tolerance  # so that NaN is wrong
    return (f"{worst} differs from its own forward by {differences[worst]:.2g} nats a token" if wrong else None), (
        differences[worst]
    )


def _trained(model: PreTrainedModel, rollout: Rollout, plain: bool) -> Tensor:
    """Log-probs of the completions as the trainer's path makes them, (completions, time)."""
    batch = rollout.prompt_ids, rollout.prompt_mask, rollout.completion_ids
    if plain:
        (_, hidden), head = padded.read_rollout(model, *batch), None
    else:
        (_, hidden), head = packed.read_rollout(model, *batch, rollout.mask), model.get_output_embeddings().weight
    keep = rollout.mask.bool()
    scores = score_tokens(hidden[keep], head, rollout.completion_ids[keep])
    log_probs = scores.log_probs
    return torch.zeros_like(rollout.mask, dtype=log_probs.dtype).masked_scatter(keep, log_probs)


def own_log_probs(model: PreTrainedModel, prompts: list[list[int]], rollout: Rollout) -> Tensor:
    """Log-probs of the completions, each alone behind its prompt in the model's own forward, (completions, time)."""
    found = torch.zeros_like(rollout.mask, dtype=torch.float32)
    for row, (ids, length) in enumerate(zip(rollout.completion_ids, rollout.mask.sum(1).long().tolist(), strict=True)):
        prompt = prompts[row // rollout.num_generations]
        ids = torch.cat([torch.tensor(prompt, device=ids.device), ids[:length]])
        log_pi = model(input_ids=ids.unsqueeze(0)).logits[0, len(prompt) - 1 : -1].float().log_softmax(-1)
        found[row, :length] = log_pi.gather(1, ids[len(prompt) :].unsqueeze(1)).squeeze(1)
    return found


def _own(model: PreTrainedModel, prompts: list[list[int]]) -> Tensor:
    """Log-probs of every next token after the first prompt: the same before and after the path was tried."""
    ids = torch.tensor([prompts[0]], device=next(model.parameters()).device)
    return model(input_ids=ids).logits[0].float().log_softmax(-1)


def _trial(model: PreTrainedModel, longest: int | None) -> tuple[list[list[int]], Tensor, list[int]]:
    """Uneven prompts of random tokens, numbers to sample with, and ends that make the completions uneven too."""
    generator = torch.Generator().manual_seed(0)
    limit = min(position_limit(model) or 10**9, longest or PROMPT_LENGTHS[0] + NEW_TOKENS)
    first = max(1, limit - NEW_TOKENS)
    control = _control_ids(model)
    vocabulary = min(model.get_input_embeddings().weight.shape[0], model.get_output_embeddings().weight.shape[0])
    usable = [i for i in range(vocabulary) if i not in control] or list(range(vocabulary))
    prompts = []
    for length in (first, *(min(n, first) for n in PROMPT_LENGTHS[1:])):
        drawn = torch.randint(len(usable), (length,), generator=generator).tolist()
        prompts.append([usable[i] for i in drawn])
    new = max(1, min(NEW_TOKENS, limit - first))
    uniforms = torch.rand(len(prompts) * GROUP, new, generator=generator, dtype=torch.float64)
    return prompts, uniforms, usable[::7]


def _control_ids(model: PreTrainedModel) -> set[int]:
    """Ids that the config names for something other than text: padding, images, ends."""
    ids: set[int] = set()
    for key, value in model.config.to_dict().items():
        if key.endswith(("token_id", "token_ids", "token_index")):
            ids |= {i for i in (value if isinstance(value, list) else [value]) if isinstance(i, int)}
    return ids
