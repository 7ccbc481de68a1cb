"""Step 1: sample completions with a KV cache, each prompt encoded once for its whole group."""

from torch import Tensor
from transformers import PreTrainedModel

from policy_gradients.language.agreement import is_padded
from policy_gradients.language.attention import positions
from policy_gradients.language.decoding import LogitsProcessor, Rollout, completion_mask, decode, pad_left, sample

__all__ = ["LogitsProcessor", "Rollout", "completion_mask", "generate", "pad_left", "positions", "sample"]


def generate(
    model: PreTrainedModel,
    prompts: list[list[int]],
    num_generations: int,
    uniforms: Tensor,
    end_ids: list[int],
    pad_id: int,
    temperature: float = 1.0,
    logits_processor: LogitsProcessor | None = None,
) -> Rollout:
    """Sample `num_generations` completions of every prompt, at most `uniforms.shape[1]` tokens each.

    The prompts go through the model once, and all completions of a group read the keys and values of that one copy.
    Rows that have ended leave the decoding batch. A model whose own forward is something else than that (see
    `agreement`) reads every sequence anew for each token, in its own way.

    Args:
        prompts: P lists of token ids.
        uniforms: numbers in [0, 1), shape (P · num_generations, max new tokens): the only randomness.
        end_ids: tokens that end a completion.
        logits_processor: makes the logits to draw from out of the model's: constrained decoding. The log-probs are then
            those of what it makes.

    Raises:
        ValueError: empty prompts, shapes that do not match, temperature not above 0.
    """
    return decode(
        model,
        prompts,
        num_generations,
        uniforms,
        end_ids,
        pad_id,
        temperature,
        logits_processor,
        plain=is_padded(model),
    )
