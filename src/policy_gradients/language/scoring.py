"""Step 4 for a transformer: log-probs, entropies and divergences of completion tokens, without the full logits."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from policy_gradients.estimators.log_probs import log_probs_and_entropy
from policy_gradients.language import packed, padded
from policy_gradients.language.agreement import is_padded
from policy_gradients.language.chunked import StateCredit, score_tokens
from policy_gradients.language.decoding import Rollout
from policy_gradients.language.limits import position_limit
from policy_gradients.language.tokens import leading_ids

PERPLEXITY_TOKENS = 256  # of a text, at most


@dataclass
class TokenScores:
    """Per completion token, each (completions, time), zero on padding.

    Attributes:
        log_probs: log π of the sampled token.
        entropy: of the full softmax, in nats.
        kl: KL(π ‖ π_ref) of the step, exact, in nats; zeros without a reference.
        ref_log_probs: log π_ref of the sampled token, no gradient; the policy's own without a reference.
        values: V of the state that the token was chosen in; None without a critic.
        expected_value: Σ_a π(a) Q(a) of the step, with gradient; None without credit by state.
        projection: KL(q ‖ π) to the target of the projection, with gradient; None without one.
        kind_probs: Σ π over each kind of token, (completions, time, kinds); None if it was not asked for.
        prompt_kl: `kl` for what the prompt's tokens predict, (prompts, prompt time); None if it was not asked for.
    """

    log_probs: Tensor
    entropy: Tensor
    kl: Tensor
    ref_log_probs: Tensor | None = None
    values: Tensor | None = None
    expected_value: Tensor | None = None
    projection: Tensor | None = None
    kind_probs: Tensor | None = None
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


def joined(pieces: list[TokenScores], width: int) -> TokenScores:
    """Scores of one batch from those of its pieces, each padded to `width` in time; those of prompts are left out."""
    columns = {}
    for name in (field.name for field in dataclasses.fields(TokenScores)):
        parts = [getattr(piece, name) for piece in pieces]
        if name != "prompt_kl" and parts[0] is not None:
            columns[name] = torch.cat([pad_time(part, width) for part in parts])
    return TokenScores(**columns)


def pad_time(column: Tensor, width: int) -> Tensor:
    """(completions, time, …) → (completions, width, …), with zeros."""
    return nn.functional.pad(column, (0, 0) * (column.dim() - 2) + (0, width - column.shape[1]))


def hidden_states(model: PreTrainedModel, rollout: Rollout) -> tuple[Tensor, Tensor]:
    """Last hidden states, with gradient: of the prompts, (prompts, prompt time, width), and those that predict the
    completion tokens, (completions, time, width); zero on padding.

    Shared prefix: the model sees the real tokens alone, each prompt once, and the gradients of all G completions flow
    back through the one copy. Of a model that takes the padded path (see `agreement`), its own logits of the same
    tokens instead, (…, vocabulary).
    """
    prompts = rollout.prompt_ids, rollout.prompt_mask
    if is_padded(model):
        return padded.read_rollout(model, *prompts, rollout.completion_ids)
    return packed.read_rollout(model, *prompts, rollout.completion_ids, rollout.mask)


def head_of(model: PreTrainedModel) -> Tensor | None:
    """What makes logits of `hidden_states`, (vocabulary, width); None where they are the logits."""
    return None if is_padded(model) else model.get_output_embeddings().weight


class CompletionScorer(nn.Module):
    """Wraps the policy so that one `forward` does all the differentiable work: what data parallelism needs."""

    def __init__(self, model: PreTrainedModel, chunk_size: int | None = None, critic: nn.Module | None = None):
        """`chunk_size`: tokens whose logits exist at once. `critic`: (rollout, hidden states) → values."""
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
        credit: StateCredit | None = None,
        reference_hidden: tuple[Tensor, Tensor] | None = None,
    ) -> TokenScores:
        """Scores at the temperature that sampled; (completions, time) each.

        The logits are made from the hidden states in chunks, and made again in the backward pass (`score_tokens`).

        Args:
            with_prompts: also the divergence from the reference on the prompts' own tokens.
            credit: by the states of the completions' tokens, (completions, time).
            reference_hidden: the reference's `hidden_states`, where they are known already.
        """
        keep, keep_prompt = rollout.mask.bool(), rollout.prompt_mask.bool() & with_prompts
        prompt_hidden, hidden = hidden_states(self.model, rollout)
        actions = rollout.completion_ids[keep]
        # a prompt's tokens have a divergence, but no action whose log-prob would be wanted
        actions = torch.cat([actions, actions.new_zeros(int(keep_prompt.sum()))])
        scored = torch.cat([hidden[keep], prompt_hidden[keep_prompt]])
        head, reference_head, hidden_there = head_of(self.model), None, None
        if reference is not None:
            if reference_hidden is None:
                with torch.no_grad():
                    reference_hidden = hidden_states(reference, rollout)
            hidden_there = torch.cat([reference_hidden[1][keep], reference_hidden[0][keep_prompt]])
            reference_head = head_of(reference)
        if credit is not None:
            credit = dataclasses.replace(credit, states=credit.states[keep])
        scores = score_tokens(scored, head, actions, hidden_there, reference_head, temperature, self.chunk_size, credit)
        if self.critic is not None and head is None:  # a critic looks at states, not at logits
            hidden = hidden_states(self.model.base_model, rollout)[1]
        columns = {name: _scatter(keep, column) for name, column in scores._asdict().items() if column is not None}
        return TokenScores(
            **columns,
            prompt_kl=_scatter(keep_prompt, scores.kl[int(keep.sum()) :]) if with_prompts else None,
            values=None if self.critic is None else self.critic(rollout, hidden) * rollout.mask,
        )


def _scatter(keep: Tensor, values: Tensor) -> Tensor:
    """The first `keep.sum()` values, or rows of them, in their places, zeros elsewhere."""
    places = torch.zeros(*keep.shape, *values.shape[1:], device=keep.device, dtype=values.dtype)
    return places.masked_scatter(keep if values.dim() == 1 else keep.unsqueeze(-1), values)


@torch.no_grad()
def plain_perplexity(
    model: PreTrainedModel, tokenizer: Any, texts: list[str], max_tokens: int = PERPLEXITY_TOKENS, batch_size: int = 16
) -> float:
    """exp of the mean negative log-likelihood a token on plain texts: no instruction, no chat template.

    Texts begin as the tokenizer begins them: after its BOS, if it puts one there; otherwise nothing predicts the first
    token, and it is not scored. At most `max_tokens` tokens of each are read, and no more than the model has positions.

    Raises:
        ValueError: no text has a token that another one predicts.
    """
    device, start = next(model.parameters()).device, leading_ids(tokenizer)
    room = min(max_tokens, (position_limit(model) or max_tokens + len(start)) - len(start))
    cut = tokenizer(texts, add_special_tokens=False, truncation=True, max_length=room)["input_ids"]
    rows = [[*start, *ids] for ids in cut if len(start) + len(ids) > 1]
    if not rows:
        raise ValueError("texts: none has a token that another one predicts; give longer texts")
    rows.sort(key=len)  # rows of one batch are of about one length
    first = max(len(start), 1)  # place of the first token that is scored
    total, count = 0.0, 0
    for i in range(0, len(rows), batch_size):
        batch = rows[i : i + batch_size]
        width = max(map(len, batch))
        # padded on the right: whatever a causal model makes of padding, no token before it sees it
        ids = torch.tensor([row + [0] * (width - len(row)) for row in batch], device=device)
        lengths = torch.tensor([len(row) for row in batch], device=device).unsqueeze(1)
        scored = (torch.arange(width, device=device) < lengths)[:, first:]
        log_probs, _ = log_probs_and_entropy(padded.read(model, ids)[:, first - 1 : -1][scored], ids[:, first:][scored])
        total -= log_probs.sum().item()
        count += int(scored.sum())
    return math.exp(total / count)
