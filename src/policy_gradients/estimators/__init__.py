"""Pure tensor maths of policy gradients: it imports torch alone, holds no state, and reads like the equations.

Conventions (all modules): maximise J, minimise `loss`; `mask` is 1 on completion tokens, the end-of-sequence token
included, 0 on padding; advantages carry no gradient; entropies are full-softmax entropies; logs are natural, so
entropies and divergences are in nats.
"""

from policy_gradients.estimators.advantages import (
    Baseline,
    Scale,
    group_advantages,
    group_advantages_by_id,
    zero_variance_share,
)
from policy_gradients.estimators.baselines import (
    leave_one_out,
    mean_of_peers,
    optimal_baseline,
    running_mean,
    value_loss,
)
from policy_gradients.estimators.covariance import covariance_bound, log_prob_covariances, token_means
from policy_gradients.estimators.credit import redistribute, shape_rewards, with_terminal_reward
from policy_gradients.estimators.divergences import (
    KlEstimator,
    KlPlace,
    divergence_parts,
    importance_weighted,
    k1,
    k2,
    k3,
    kl_estimate,
)
from policy_gradients.estimators.gpomdp import eligibility_traces, gpomdp
from policy_gradients.estimators.importance import Scope, effective_sample_size, importance_weights, self_normalized
from policy_gradients.estimators.log_probs import (
    entropy,
    expected_value,
    gaussian_kl,
    gaussian_log_probs_and_entropy,
    kl_divergence,
    log_probs_and_entropy,
)
from policy_gradients.estimators.losses import (
    Aggregation,
    Empty,
    RatioLevel,
    aggregate,
    cispo_loss,
    clipped_loss,
    clipped_tokens,
    policy_gradient_loss,
    sequence_old_log_probs,
    token_weights,
)
from policy_gradients.estimators.masked import masked_mean, masked_var, masked_whiten
from policy_gradients.estimators.natural import (
    compatible_critic,
    conjugate_gradient,
    fisher_matrix,
    fisher_vector_product,
    kl_step,
    natural_gradient,
)
from policy_gradients.estimators.projection import projection_divergence, soft_target
from policy_gradients.estimators.regularizers import (
    EntropySchedule,
    divergence_to_go,
    entropy_weight,
    group_relative,
    target_entropy_weight,
)
from policy_gradients.estimators.returns import (
    discounted_returns,
    discounts,
    generalized_advantages,
    lambda_returns,
    n_step_returns,
    reverse_cumsum,
    td_errors,
)
from policy_gradients.estimators.scores import score_gradient, score_vectors
from policy_gradients.estimators.sharing import shared_rewards
from policy_gradients.estimators.state_values import StateValues
from policy_gradients.estimators.trajectories import Trajectories
from policy_gradients.estimators.transition_values import TransitionValues

__all__ = [
    "Aggregation",
    "Baseline",
    "Empty",
    "EntropySchedule",
    "KlEstimator",
    "KlPlace",
    "RatioLevel",
    "Scale",
    "Scope",
    "StateValues",
    "Trajectories",
    "TransitionValues",
    "aggregate",
    "cispo_loss",
    "clipped_loss",
    "clipped_tokens",
    "compatible_critic",
    "conjugate_gradient",
    "covariance_bound",
    "discounted_returns",
    "discounts",
    "divergence_parts",
    "divergence_to_go",
    "effective_sample_size",
    "eligibility_traces",
    "entropy",
    "entropy_weight",
    "expected_value",
    "fisher_matrix",
    "fisher_vector_product",
    "gaussian_kl",
    "gaussian_log_probs_and_entropy",
    "generalized_advantages",
    "gpomdp",
    "group_advantages",
    "group_advantages_by_id",
    "group_relative",
    "importance_weighted",
    "importance_weights",
    "k1",
    "k2",
    "k3",
    "kl_divergence",
    "kl_estimate",
    "kl_step",
    "lambda_returns",
    "leave_one_out",
    "log_prob_covariances",
    "log_probs_and_entropy",
    "masked_mean",
    "masked_var",
    "masked_whiten",
    "mean_of_peers",
    "n_step_returns",
    "natural_gradient",
    "optimal_baseline",
    "policy_gradient_loss",
    "projection_divergence",
    "redistribute",
    "reverse_cumsum",
    "running_mean",
    "score_gradient",
    "score_vectors",
    "self_normalized",
    "sequence_old_log_probs",
    "shape_rewards",
    "shared_rewards",
    "soft_target",
    "target_entropy_weight",
    "td_errors",
    "token_means",
    "token_weights",
    "value_loss",
    "with_terminal_reward",
    "zero_variance_share",
]
