"""Step 4 for a transformer: log-probs, entropies and divergences of completion tokens, without the full logits."""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import DynamicCache, PreTrainedModel

from policy_gradients.estimators.log_probs import expected_value, kl_divergence, log_probs_and_entropy
from policy_gradients.language.rollout import Rollout, pad_left, positions

ActionValues = Callable[[Tensor], Tensor]  # states (n,) → what each next token is worth there, (n, vocabulary)


@dataclass
class TokenScores:
    """Per completion token, each (completions, time), zero on padding.

    Attributes:
        log_probs: log π of the sampled token.
        entropy: of the full softmax, in nats.
        kl: KL(π ‖ π_ref) of the step, exact, in nats; zeros without a reference.
        ref_log_probs: log π_ref of the sampled token, no gradient; the policy's own without a reference.
        values: V of the state that the token was chosen in; None without a critic.
        expected_value: Σ_a π(a) Q(a) of the step, with gradient; None without action values.
        prompt_kl: `kl` for what the prompt's tokens predict, (prompts, prompt time); None if it was not asked for.
    """

    log_probs: Tensor
    entropy: Tensor
    kl: Tensor
    ref_log_probs: Tensor | None = None
    values: Tensor | None = None
    expected_value: Tensor | None = None
    prompt_kl: Tensor | None = None

    def cut(self, rollout: Rollout, skip_prompts: int) -> "TokenScores":
        """The scores of `rollout`, which begins so many prompts after theirs."""
        rows = slice(skip_prompts * rollout.num_generations, skip_prompts * rollout.num_generations + len(rollout.mask))
        columns = (getattr(self, field.name) for field in dataclasses.fields(self))
        cut = TokenScores(*(None if column is None else column[rows, : rollout.mask.shape[1]] for column in columns))
        return dataclasses.replace(cut, prompt_kl=None)

    def detach(self) -> "TokenScores":
        """The same numbers without their graph, to keep for later updates."""
        columns = (getattr(self, field.name) for field in dataclasses.fields(self))
        return TokenScores(*(None if column is None else column.detach() for column in columns))


def hidden_states(model: PreTrainedModel, rollout: Rollout) -> tuple[Tensor, Tensor]:
    """Last hidden states, with gradient: of the prompts, (prompts, prompt time, width), and those that predict the
    completion tokens, (completions, time, width).

    Shared prefix: each prompt is encoded once, its keys and values are repeated for the group, and the gradients of all
    G completions flow back through the one copy.
    """
    group, backbone = rollout.num_generations, model.base_model
    cache = DynamicCache(config=model.config)
    prompt = backbone(
        rollout.prompt_ids,
        attention_mask=rollout.prompt_mask,
        position_ids=positions(rollout.prompt_mask),
        past_key_values=cache,
        use_cache=True,
    )
    first = prompt.last_hidden_state[:, -1:].repeat_interleave(group, dim=0)
    if rollout.completion_ids.shape[1] == 1:
        return prompt.last_hidden_state, first
    cache.batch_repeat_interleave(group)
    prompt_mask = rollout.prompt_mask.repeat_interleave(group, dim=0)
    mask = torch.cat([prompt_mask, rollout.mask[:, :-1].to(prompt_mask.dtype)], dim=1)
    rest = backbone(
        rollout.completion_ids[:, :-1],
        attention_mask=mask,
        position_ids=positions(mask)[:, prompt_mask.shape[1] :],
        past_key_values=cache,
        use_cache=True,
    )
    return prompt.last_hidden_state, torch.cat([first, rest.last_hidden_state], dim=1)


class CompletionScorer(nn.Module):
    """Wraps the policy so that one `forward` does all the differentiable work: what data parallelism needs."""

    def __init__(self, model: PreTrainedModel, chunk_size: int = 1024, critic: nn.Module | None = None):
        """`chunk_size`: tokens whose logits exist at the same time. `critic`: (rollout, hidden states) → values."""
        super().__init__()
        self.model = model
        self.critic = critic
        self.chunk_size = chunk_size

    def forward(
        self,
        rollout: Rollout,
        temperature: float = 1.0,
        reference: PreTrainedModel | None = None,
        with_prompts: bool = False,
        states: Tensor | None = None,
        action_values: ActionValues | None = None,
    ) -> TokenScores:
        """Scores at the temperature that sampled; (completions, time) each.

        The logits are made from the hidden states in chunks and made again in the backward pass: at most
        `chunk_size` × vocabulary of them exist at once, for the policy and for the reference.

        Args:
            with_prompts: also the divergence from the reference on the prompts' own tokens.
            states, action_values: (completions, time), and what each next token is worth in such a state, for
                `expected_value`.
        """
        keep, keep_prompt = rollout.mask.bool(), rollout.prompt_mask.bool() & with_prompts
        prompt_hidden, hidden = hidden_states(self.model, rollout)
        actions = rollout.completion_ids[keep]
        # a prompt's tokens have a divergence, but no action whose log-prob would be wanted
        actions = torch.cat([actions, actions.new_zeros(int(keep_prompt.sum()))])
        states = torch.zeros_like(actions) if states is None else _extended(states[keep], len(actions))
        parts = [torch.cat([hidden[keep], prompt_hidden[keep_prompt]]), actions, states]
        head, reference_head = self.model.get_output_embeddings().weight, None
        if reference is not None:
            with torch.no_grad():
                prompt_hidden, hidden_there = hidden_states(reference, rollout)
            parts.append(torch.cat([hidden_there[keep], prompt_hidden[keep_prompt]]))
            reference_head = reference.get_output_embeddings().weight
        chunks = [
            checkpoint(_score_chunk, head, reference_head, temperature, action_values, *chunk, use_reentrant=False)
            for chunk in zip(*(part.split(self.chunk_size) for part in parts), strict=True)
        ]
        log_probs, entropy, kl, ref_log_probs, gain = (torch.cat(column) for column in zip(*chunks, strict=True))
        return TokenScores(
            *(_scatter(keep, column) for column in (log_probs, entropy, kl)),
            prompt_kl=_scatter(keep_prompt, kl[int(keep.sum()) :]) if with_prompts else None,
            ref_log_probs=_scatter(keep, ref_log_probs),
            values=None if self.critic is None else self.critic(rollout, hidden) * rollout.mask,
            expected_value=None if action_values is None else _scatter(keep, gain),
        )


def _scatter(keep: Tensor, values: Tensor) -> Tensor:
    """The first `keep.sum()` values in their places, zeros elsewhere."""
    return torch.zeros(keep.shape, device=keep.device, dtype=values.dtype).masked_scatter(keep, values)


def _extended(values: Tensor, length: int) -> Tensor:
    """The values, then zeros up to that length: a prompt's tokens have no state."""
    return torch.cat([values, values.new_zeros(length - len(values))])


def _score_chunk(
    head: Tensor,
    reference_head: Tensor | None,
    temperature: float,
    action_values: ActionValues | None,
    hidden: Tensor,
    actions: Tensor,
    states: Tensor,
    reference_hidden: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    logits = (hidden @ head.T).float() / temperature
    log_probs, entropy = log_probs_and_entropy(logits, actions)
    nothing = torch.zeros_like(log_probs)
    gain = nothing if action_values is None else expected_value(logits.log_softmax(-1), action_values(states))
    if reference_hidden is None or reference_head is None:
        return log_probs, entropy, nothing, log_probs.detach(), gain
    log_ref = ((reference_hidden @ reference_head.T).float() / temperature).log_softmax(-1)
    kl = kl_divergence(logits.log_softmax(-1), log_ref)
    return log_probs, entropy, kl, log_ref.gather(-1, actions.unsqueeze(-1)).squeeze(-1), gain


@torch.no_grad()
def plain_perplexity(
    model: PreTrainedModel, tokenizer: Any, texts: list[str], max_tokens: int = 256, batch_size: int = 16
) -> float:
    """exp of the mean negative log-likelihood a token on plain texts: no instruction, no chat template.

    Each text is scored from its beginning, after the token that separates documents, up to `max_tokens` tokens.
    """
    device = next(model.parameters()).device
    cut = tokenizer(texts, add_special_tokens=False, truncation=True, max_length=max_tokens)["input_ids"]
    rows = [[tokenizer.pad_token_id, *ids] for ids in cut]
    rows.sort(key=len)  # rows of one batch are of about one length
    total, count = 0.0, 0
    for i in range(0, len(rows), batch_size):
        ids, mask = pad_left(rows[i : i + batch_size], tokenizer.pad_token_id, device)
        logits = model(ids, attention_mask=mask, position_ids=positions(mask)).logits[:, :-1]
        scored = (mask[:, 1:] * mask[:, :-1]).bool()  # a token that follows a real one
        log_probs, _ = log_probs_and_entropy(logits[scored], ids[:, 1:][scored])
        total -= log_probs.sum().item()
        count += int(scored.sum())
    return math.exp(total / count)
