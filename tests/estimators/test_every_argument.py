"""Every public function with every argument spoilt in every way that is known: a ValueError, or an answer; no crash.

And where there is a mask, what stands on padding changes nothing, NaN included.
"""

import inspect

import pytest
import torch

import policy_gradients.estimators as estimators

D = torch.float64
GENERATOR = torch.Generator().manual_seed(0)


def draw(*shape):
    return torch.randn(*shape, dtype=D, generator=GENERATOR)


MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 1, 0]], dtype=D)
LOG_PROBS = draw(3, 4) - 2
OLD = LOG_PROBS + 0.1 * draw(3, 4)
REWARDS, VALUES, GROUPS = draw(3, 4), draw(3, 4), draw(2, 6)
LOG_PI, LOG_REF, ACTION_VALUES = draw(3, 4, 5).log_softmax(-1), draw(3, 4, 5).log_softmax(-1), draw(3, 4, 5)
SCORES, EPISODE_SCORES = draw(50, 4), draw(3, 4, 2)
FISHER, EYE = SCORES.T @ SCORES / 50, torch.eye(2, dtype=D).expand(3, 2, 2)
RATIO = {"log_probs": LOG_PROBS, "old_log_probs": OLD}
EPISODES = {"rewards": REWARDS, "gamma": 0.9, "mask": MASK}

GOOD = {
    "aggregate": {"loss": draw(3, 4), "mask": MASK},
    "cispo_loss": {**RATIO, "advantages": draw(3, 4), "clip_low": 0.2, "clip_high": 0.2},
    "clipped_loss": {**RATIO, "advantages": draw(3, 4), "clip_low": 0.2, "clip_high": 0.2, "dual_clip": 3.0},
    "clipped_tokens": {**RATIO, "advantages": draw(3, 4)},
    "compatible_critic": {"scores": SCORES, "returns": draw(50)},
    "discounted_returns": EPISODES,
    "divergence_parts": {"kl": draw(3, 4).abs(), "mask": MASK, "place": "reward"},
    "divergence_to_go": {"kl": draw(3, 4).abs(), "mask": MASK},
    "effective_sample_size": {"weights": draw(7).abs()},
    "eligibility_traces": {"scores": EPISODE_SCORES, "beta": 0.9},
    "entropy": {"log_pi": LOG_PI},
    "entropy_weight": {"base": 0.1, "rewards": GROUPS, "schedule": "inverse_variance", "cap": 10.0, "epsilon": 1e-8},
    "expected_value": {"log_pi": LOG_PI, "action_values": ACTION_VALUES},
    "fisher_matrix": {"scores": SCORES},
    "fisher_vector_product": {"scores": SCORES, "vector": draw(4)},
    "gaussian_kl": {"mean": draw(3, 2), "scale_tril": EYE, "ref_mean": draw(3, 2), "ref_scale_tril": 2 * EYE},
    "gaussian_log_probs_and_entropy": {"mean": draw(3, 2), "scale_tril": EYE, "actions": draw(3, 2)},
    "generalized_advantages": {**EPISODES, "values": VALUES, "lam": 0.8},
    "gpomdp": {"scores": EPISODE_SCORES, "rewards": REWARDS, "beta": 0.9},
    "group_advantages": {"rewards": GROUPS, "baseline": "mean", "scale": "std", "epsilon": 1e-4, "correction": 1},
    "group_advantages_by_id": {"rewards": draw(6), "groups": torch.tensor([0, 0, 1, 1, 1, 0]), "scale": "std"},
    "group_relative": {"cost": draw(6, 3), "num_generations": 3},
    "importance_weighted": {"estimate": draw(3), "log_probs": draw(3), "old_log_probs": draw(3)},
    "importance_weights": {**RATIO, "mask": MASK, "clip": 2.0},
    "k1": {"log_probs": LOG_PROBS, "ref_log_probs": OLD},
    "k2": {"log_probs": LOG_PROBS, "ref_log_probs": OLD},
    "k3": {"log_probs": LOG_PROBS, "ref_log_probs": OLD},
    "kl_divergence": {"log_pi": LOG_PI, "log_ref": LOG_REF},
    "kl_estimate": {"log_probs": LOG_PROBS, "ref_log_probs": OLD, "estimator": "k3"},
    "kl_step": {"gradient": SCORES[0], "direction": SCORES[0] + 0.1, "max_kl": 0.01},
    "lambda_returns": {**EPISODES, "values": VALUES, "lam": 0.8},
    "leave_one_out": {"values": GROUPS},
    "log_probs_and_entropy": {"logits": ACTION_VALUES, "actions": torch.tensor([[0, 1, 2, 3]] * 3)},
    "masked_mean": {"values": draw(3, 4), "mask": MASK},
    "masked_var": {"values": draw(3, 4), "mask": MASK, "correction": 1},
    "masked_whiten": {"values": draw(3, 4), "mask": MASK, "epsilon": 1e-8},
    "mean_of_peers": {"values": GROUPS, "peers": torch.ones(6, 6, dtype=torch.bool)},
    "n_step_returns": {**EPISODES, "values": VALUES, "n": 2},
    "natural_gradient": {"gradient": draw(4), "fisher": FISHER, "damping": 0.1},
    "optimal_baseline": {"scores": SCORES, "returns": draw(50)},
    "policy_gradient_loss": {"log_probs": LOG_PROBS, "advantages": draw(3, 4)},
    "projection_divergence": {"log_pi": LOG_PI, "log_target": LOG_REF},
    "redistribute": {"returns": draw(3), "shares": draw(3, 4).abs(), "gamma": 0.9, "mask": MASK},
    "reverse_cumsum": {"values": draw(3, 4), "discount": 0.9},
    "running_mean": {"baseline": 0.5, "rewards": draw(5), "rate": 0.1},
    "score_gradient": {"scores": EPISODE_SCORES, "advantages": REWARDS, "mask": MASK},
    "self_normalized": {"weights": draw(7).abs()},
    "sequence_old_log_probs": {**RATIO, "mask": MASK},
    "shape_rewards": {**EPISODES, "potentials": draw(3, 4)},
    "log_prob_covariances": {"log_probs": LOG_PROBS, "advantages": draw(3, 4), "mask": MASK},
    "covariance_bound": {"covariances": draw(3, 4), "mask": MASK, "share": 0.5},
    "token_means": {"log_probs": LOG_PROBS, "advantages": draw(3, 4), "mask": MASK},
    "shared_rewards": {"rewards": draw(4).abs(), "alike": torch.ones(4, 4, dtype=D), "sharing": 0.5},
    "soft_target": {"log_ref": LOG_REF, "action_values": ACTION_VALUES, "temperature": 0.5},
    "target_entropy_weight": {"weight": 0.1, "entropy": 1.0, "target": 1.2, "rate": 0.1, "cap": 1.0},
    "td_errors": {**EPISODES, "values": VALUES},
    "token_weights": {"mask": MASK, "aggregation": "token", "completions": 3, "tokens": 9, "max_tokens": 4},
    "value_loss": {"values": VALUES, "returns": REWARDS, "mask": MASK},
    "with_terminal_reward": {"returns": draw(3), "mask": MASK},
    "zero_variance_share": {"rewards": GROUPS},
}
# what takes functions, or is no function of tensors
OTHERS = {"StateValues", "Trajectories", "TransitionValues", "conjugate_gradient", "discounts", "score_vectors"}


def spoilt_tensor(values):
    yield "a list", values.tolist()
    yield "None", None
    yield "complex", values.to(torch.complex64)
    yield "a row less", values[:-1]
    yield "a dimension more", values.unsqueeze(-1)
    yield "one row", values[:1]
    yield "a number", values.flatten()[0]
    yield "empty", values[:0]
    yield "half", values.half()
    yield "whole numbers", values.long()
    yield "truth values", values > 0
    yield "NaN", torch.full_like(values.double(), float("nan"))
    if values.dtype != torch.bool:
        yield "negative", -values


def spoilt_number(_):
    for value in (float("nan"), float("inf"), -float("inf"), -1, 0, 1e308, "x", None, torch.ones(2)):
        yield repr(value), value


def tensors_of(answer):
    if isinstance(answer, torch.Tensor):
        return [answer]
    if isinstance(answer, (float, int)):
        return [torch.tensor(float(answer), dtype=D)]
    return [x for each in answer for x in tensors_of(each)]


def test_every_public_function_is_here():
    functions = {name for name in estimators.__all__ if not hasattr(getattr(estimators, name), "__args__")}
    assert functions - OTHERS == GOOD.keys()


@pytest.mark.parametrize("name", GOOD)
def test_a_spoilt_argument_is_refused_or_answered(name):
    function, good = getattr(estimators, name), GOOD[name]
    assert all(x.isfinite().all() for x in tensors_of(function(**good)))
    for argument, value in good.items():
        kinds = spoilt_tensor if isinstance(value, torch.Tensor) else spoilt_number
        for kind, spoilt in [("a typo", "typo")] if isinstance(value, str) else kinds(value):
            try:
                function(**{**good, argument: spoilt})
            except (ValueError, TypeError):
                continue
            except Exception as error:
                pytest.fail(f"{name}({argument} = {kind}): {type(error).__name__}: {error}")
            is_chosen = inspect.signature(function).parameters[argument].default is None and spoilt is None
            assert kind not in ("a typo", "complex", "a list", "nan", "'x'", "None") or is_chosen, (argument, kind)


@pytest.mark.parametrize("name", [name for name, good in GOOD.items() if "mask" in good])
def test_what_stands_on_padding_changes_nothing(name):
    function, good = getattr(estimators, name), GOOD[name]
    plain = tensors_of(function(**good))
    padding = good["mask"] == 0
    for argument, value in good.items():
        if argument == "mask" or not isinstance(value, torch.Tensor) or value.shape[:2] != padding.shape:
            continue
        wild = value.clone()
        wild[padding] = float("nan")
        for found, wanted in zip(tensors_of(function(**{**good, argument: wild})), plain, strict=True):
            if found.shape == padding.shape:
                assert found.isfinite().all(), argument
                found, wanted = found[~padding], wanted[~padding]
            torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("name", ["entropy", "kl_divergence", "expected_value", "projection_divergence"])
def test_logits_are_no_log_probabilities(name):
    good = GOOD[name]
    first = next(iter(good))
    with pytest.raises(ValueError, match="log_softmax"):
        getattr(estimators, name)(**{**good, first: ACTION_VALUES})
