"""Step 5, its loss: the policy's part from the credit, the price of divergence, the bonus for entropy."""

from torch import Tensor

from policy_gradients.estimators.divergences import divergence_parts, importance_weighted, kl_estimate
from policy_gradients.language.scoring import TokenScores
from policy_gradients.training.batch import Batch
from policy_gradients.training.config import KlPenalty, KlProjection, TrainConfig
from policy_gradients.training.credit import Credit, TokenLosses


def loss_per_token(
    scores: TokenScores, old: TokenScores, piece: Batch, credit: Credit, config: TrainConfig
) -> TokenLosses:
    """The loss of each token; with the default settings its sum has the gradient of -(E[R] - β KL), less c ∇H of each
    step's own choice: a bonus for entropy pays for the tokens as they stand, not for leading to undecided ones.

    The divergence enters as its gradient does (`divergence_parts`): exactly at each step, and, for the choices that
    lead into costly states, as a cost beside the reward, with a baseline of its own. Or not at all, where the policy is
    drawn to the best one that the values and the divergence allow (`soft_target`).

    Args:
        scores: of the policy as it is, with gradient.
        old: of the policy that sampled; at the first update of a batch these are `scores` themselves.
        piece: the part of the batch that the scores belong to.
    """
    cost, term = _divergence(scores, old, piece, config)
    losses = credit.losses(scores, old, piece, piece.kl_weight * cost)
    losses.loss = losses.loss + piece.kl_weight * term - piece.entropy_weight * scores.entropy
    return losses


def token_kl(scores: TokenScores, old: TokenScores, divergence: KlPenalty) -> Tensor:
    """The divergence of each token as the config wants it estimated, (completions, time), in nats."""
    if divergence.kl_estimator == "exact":
        return scores.kl
    kl = kl_estimate(scores.log_probs, scores.ref_log_probs, divergence.kl_estimator)
    return importance_weighted(kl, scores.log_probs, old.log_probs) if divergence.kl_place == "weighted_loss" else kl


def _divergence(scores: TokenScores, old: TokenScores, piece: Batch, config: TrainConfig) -> tuple[Tensor, Tensor]:
    """What each token is charged, without gradient, and what is differentiated; of one nat each."""
    divergence, nothing = config.divergence, scores.kl.detach() * 0
    if isinstance(divergence, KlProjection):  # to a target that keeps to the reference already
        return nothing, divergence.projection_weight * scores.projection
    if divergence is None:
        return nothing, nothing
    exact = divergence.kl_estimator == "exact"
    return divergence_parts(token_kl(scores, old, divergence), piece.rollout.mask, divergence.kl_place, exact=exact)
