"""What a model has room for, and the error that says what it cannot do."""

from transformers import PreTrainedModel


class ModelError(ValueError):
    """A model could not be loaded; the message says why and what to do."""


def position_limit(model: PreTrainedModel) -> int | None:
    """Most tokens of one sequence that the model has positions for, None if its config names no limit."""
    config = model.config.get_text_config()
    limits = [getattr(config, name, None) for name in ("max_position_embeddings", "n_positions", "max_seq_len")]
    limit = min((limit for limit in limits if isinstance(limit, int) and limit > 0), default=None)
    first = next(
        (
            module.padding_idx + 1  # RoBERTa and its kin count positions from there
            for name, module in model.base_model.named_modules()
            if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None
        ),
        0,
    )
    return limit if limit is None else limit - first


def require_room(model: PreTrainedModel, max_prompt_tokens: int, max_new_tokens: int) -> None:
    """Raise ModelError unless prompt and completion fit into the model's positions."""
    limit = position_limit(model)
    if limit is not None and max_prompt_tokens + max_new_tokens > limit:
        raise ModelError(
            f"{type(model).__name__} has positions for {limit} tokens, and max_prompt_tokens={max_prompt_tokens} with "
            f"max_new_tokens={max_new_tokens} may take {max_prompt_tokens + max_new_tokens}; lower one of them"
        )
