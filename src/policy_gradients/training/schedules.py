"""What changes from step to step: β, the learning rate, the weight of the entropy, the tolerance."""

from torch import Tensor

from policy_gradients.estimators.regularizers import entropy_weight, target_entropy_weight
from policy_gradients.language.rules import ExactLength, find_part
from policy_gradients.language.tasks import CheckerTask
from policy_gradients.training.batch import Batch, Rewarded
from policy_gradients.training.config import ScheduledEntropy, TargetEntropy, TrainConfig
from policy_gradients.training.curriculum import ToleranceCurriculum
from policy_gradients.training.run import Run


def kl_weight(config: TrainConfig, pass_rate: float) -> float:
    """β for this step: between `kl_weight` (nothing passes) and `kl_success_weight` (everything does).

    A fixed β is a bad judge while the reward is sparse: then the divergence is the whole objective, and brevity its
    cheapest optimum. Once the rule is met, every nat that does not serve it can be asked back. The fourth power keeps
    the price low until nearly everything passes; should the price then cost passes, it falls again by itself.
    """
    if config.divergence is None:
        return 0.0
    first, last = config.divergence.kl_weight, config.divergence.kl_success_weight
    return first + (last - first) * pass_rate**4


def learning_rate(config: TrainConfig, step: int) -> float:
    """Linear warm-up, constant, and a linear fall over the last third of the steps."""
    warm = min(1.0, (step + 1) / max(1, config.warmup_steps))
    fall = max(0.0, (step + 1) / config.max_steps - 2 / 3) * 3
    return config.learning_rate * warm * (1 - (1 - config.final_learning_rate) * fall)


def bonus(run: Run, groups: Tensor) -> float:
    """The weight of the entropy for rewards (prompts, G)."""
    entropy = run.config.entropy
    if entropy is None:
        return 0.0
    if isinstance(entropy, ScheduledEntropy):
        return entropy_weight(entropy.entropy_weight, groups, entropy.entropy_schedule, entropy.entropy_cap)
    return entropy.entropy_weight if run.target_entropy_weight is None else run.target_entropy_weight


def make_curriculum(config: TrainConfig) -> ToleranceCurriculum | None:
    """At its widest."""
    if (settings := config.curriculum) is None:
        return None
    start, patient = settings.start_tolerance, settings.curriculum_gate == "reward"
    return ToleranceCurriculum(start, start, settings.raise_above, settings.lower_below, patient=patient)


def advance(run: Run, batch: Batch, rewarded: Rewarded, entropy: float) -> None:
    """Account for a step in all that follows success: the pass rate, the entropy's weight, the tolerance."""
    config, rewards = run.config, rewarded.groups
    run.pass_rate = 0.8 * run.pass_rate + 0.2 * rewarded.strict.mean().item()
    if isinstance(target := config.entropy, TargetEntropy):
        run.target_entropy_weight = target_entropy_weight(
            batch.entropy_weight, entropy, target.entropy_target, target.entropy_rate,
            target.entropy_cap * target.entropy_weight,
        )  # fmt: skip
    if run.curriculum is None or not isinstance(run.task, CheckerTask):
        return
    within = ExactLength(find_part(run.task.rule, ExactLength).characters, run.curriculum.tolerance)
    near = [within.check(text) for text in rewarded.texts]
    by_length = config.curriculum.curriculum_gate == "length"
    run.curriculum.update(sum(near) / len(near) if by_length else rewards.flatten().mean().item())
