"""Alarms: what a run that is going wrong shows in its own numbers, in time to stop it.

Each alarm is a function of the rows of metrics so far (the last is the step just done); it returns a sentence, or None.
A threshold stands where the healthy runs of the lab do not come near it and the failure goes far beyond it; each
docstring says why there.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

Rows = Sequence[dict[str, Any]]
Alarm = Callable[[Rows], str | None]

WINDOW = 5  # steps that a condition must hold for, where one step can show it by chance


class NotFinite(ValueError):
    """A run has come to NaN or infinity; the message says at which step."""


def not_finite(rows: Rows) -> str | None:
    """NaN or infinity in the loss, the entropy or the divergence. No threshold: none of them may ever be.

    The norm of the gradient is exempt for a while: in fp16 the gradient scaler tries scales that are too large, skips
    the update and halves its scale. It starts at 2^16, so after 16 skips in a row it is the run that is wrong.
    """
    for name in ("loss", "entropy", "kl", "sampler_mismatch"):
        if not math.isfinite(rows[-1][name]):
            return (
                f"{name} is {rows[-1][name]}. Something overflowed, most often an exp or a sum in half precision: "
                "keep log-probs, softmax and loss in float32"
            )
    if len(rows) >= 16 and not any(math.isfinite(row["grad_norm"]) for row in rows[-16:]):
        return "the gradient has not been finite for 16 steps: no update was made; look for an overflow in the loss"
    return None


def require_finite(rows: Rows, learning_rate: float, scaled: bool) -> None:
    """Raise NotFinite where a run must not go on: as `not_finite`, or, without a gradient scaler, with the first
    gradient that is not finite."""
    row, said = rows[-1], not_finite(rows)
    if said is None and not scaled and not math.isfinite(row["grad_norm"]):
        said = f"the gradient's norm is {row['grad_norm']}"
    if said is not None:
        raise NotFinite(
            f"step {row['step']}: {said}. The run goes no further; the last checkpoint is from before. Start again "
            f"with a learning_rate below {learning_rate:g}"
        )


def zero_gradient(rows: Rows) -> str | None:
    """Gradient norm below 1e-6 although some group has rewards that differ.

    Norms of healthy runs are 0.01 to 10; what is left of a gradient whose terms cancel in float32 is below 1e-7. An
    entropy bonus has a gradient of its own, and hides a policy gradient that is missing.
    """
    row = rows[-1]
    if row["zero_variance_share"] < 1 and row["grad_norm"] < 1e-6:
        return (
            f"the gradient is zero (norm {row['grad_norm']:.1g}) although rewards differ within groups: "
            "something is detached that should not be, or divided by itself with its gradient"
        )
    return None


def constant_reward(rows: Rows) -> str | None:
    """One and the same reward for all completions, from the first step on, for `WINDOW` steps.

    A healthy run may come to it (all pass), but does not start with it: with p = 0.01 and 128 completions a step, five
    steps without a pass have probability 0.99^640 = 0.2 %.
    """
    if len(rows) < WINDOW or rows[0]["step"] != 1:
        return None
    rewards = {row["reward_min"] for row in rows} | {row["reward_max"] for row in rows}
    if len(rewards) > 1:
        return None
    return (
        f"every completion so far had the reward {rewards.pop():g}: there is nothing to learn from. Call the reward "
        "function by hand on a good and a bad text; if it is right, the task is too hard to start with"
    )


def rounded_rewards(rows: Rows) -> str | None:
    """Rewards so large beside their differences that a thousandth of these is lost in float32, or all of them may be.

    Rewards travel as float32, which tells apart 1 and 1 + 1.2e-7: 1e9 and 1e9 + 30 are one number. Those between 0 and
    1 lose a thousandth where they differ by less than 1e-4; of equal ones nothing is said below 2^24.
    """
    low, high = rows[-1]["reward_min"], rows[-1]["reward_max"]
    largest, spread = max(abs(low), abs(high)), high - low
    if largest * 2**-23 > 1e-3 * spread > 0 or (spread == 0 and largest >= 2**24):
        return (
            f"rewards of about {largest:g} differ by {spread:g}, and are rounded to {largest * 2**-23:.1g} on their "
            "way: take away what they have in common, such as the best reward there is"
        )
    return None


def uniform_groups(rows: Rows) -> str | None:
    """Over 90 % of the groups uniform, mean over `WINDOW` steps, while the mean reward is not near the best one seen.

    Of groups of G completions that pass with probability p, p^G + (1 - p)^G are uniform by chance; with G = 8 that is
    92 % at p = 0.01. A run that has solved its task comes there from the other side (p = 0.99), and is left in peace.
    """
    recent = rows[-WINDOW:]
    share = sum(row["zero_variance_share"] for row in recent) / len(recent)
    best = max(row["reward_max"] for row in rows)
    worst = min(row["reward_min"] for row in rows)
    if len(recent) < WINDOW or share <= 0.9 or best == worst:
        return None
    if rows[-1]["train_reward"] - worst > 0.9 * (best - worst):
        return None
    return (
        f"in {share:.0%} of the groups all completions earn the same, so they teach nothing. Either the task is too "
        "hard (give partial credit, or start with a wider tolerance), or a prompt is scored once for its whole group"
    )


def kl_at_start(rows: Rows) -> str | None:
    """More than 0.01 nats a completion between policy and reference before the first update: they are the same weights.

    Both are computed by the same code, so the difference is rounding: 0 to 1e-5 in float32 and in bf16.
    """
    row = rows[-1]
    if row["step"] == 1 and row["kl"] > 0.01:
        return (
            f"before any update, policy and reference differ by {row['kl']:.2g} nats a completion: they must be the "
            "same weights in the same mode. Is dropout on (model.train()), or is the reference another model?"
        )
    return None


def sampler_mismatch(rows: Rows) -> str | None:
    """Log-probs of sampled tokens: mean |trainer - sampler| above 0.1 nats a token.

    Rounding makes 1e-6 in float32 and 0.01 in bf16 with `tiny`. A temperature of 0.7 that the scoring does not know
    makes 0.26, a padding mask that is missing 0.21.
    """
    row = rows[-1]
    if row["sampler_mismatch"] > 0.1:
        return (
            f"the trainer's log-probs differ from the sampler's by {row['sampler_mismatch']:.2g} nats a token: another "
            "distribution is scored than was sampled. Compare temperature, top-k and top-p, the attention mask and the "
            "positions under left padding, and dropout"
        )
    return None


def ratio_drift(rows: Rows) -> str | None:
    """Ratio π/π_old away from 1 at the first update (by over 0.001 on average), over 3/4 of the tokens clipped, or a
    trust region that every first update of `WINDOW` steps has left.

    At the first update nothing has moved: the ratio is 1 up to rounding. At the last, a clip at work cuts up to a half
    (two updates, the first a large one); where it cuts 3/4, the batch was used up before: steps too large or too many.
    """
    row = rows[-1]
    if row["ratio_at_start"] > 1e-3:
        return (
            f"at the first update on a batch, π/π_old is off 1 by {row['ratio_at_start']:.2g} on average: the old "
            "log-probs come from another policy or another computation than the new ones"
        )
    if row.get("clipped_share", 0.0) > 0.75:
        return (
            f"the clip cuts {row['clipped_share']:.0%} of the tokens at the last update on a batch: fewer updates a "
            "batch or a lower learning rate will learn as much"
        )
    recent = rows[-WINDOW:]
    if len(recent) == WINDOW and all("update_kl" in each and each["updates"] == 1 for each in recent):
        return (
            f"one update moves the policy {row['update_kl']:.2g} nats a token, out of the trust region, so the batch "
            "is not used again: fewer updates a batch or a lower learning rate will learn as much"
        )
    return None


def kl_estimate_off(rows: Rows) -> str | None:
    """A sampled estimate of the divergence at more than 2 times the exact one, summed over the last 10 steps.

    k1 and k3 are unbiased, and k2 is close to them near the reference: k3 of 16 completions a step stays within 20 % of
    the exact value, the wrong way round it is at 6 times. Below 1 nat a completion nothing is said: there both agree.
    """
    recent = [row for row in rows[-10:] if "kl_estimate" in row]
    exact, estimated = (sum(row[name] for row in recent) for name in ("kl", "kl_estimate"))
    if recent and exact > len(recent) and estimated > 2 * exact:
        return (
            f"the sampled KL is {estimated / exact:.1f} times the exact one: the estimator is wrong. k3 is "
            "r - 1 - log r with r = π_ref/π of the sampled token; the other way round it measures another divergence"
        )
    return None


def entropy_collapse(rows: Rows) -> str | None:
    """Entropy below a fifth of the first step's, mean over `WINDOW` steps.

    Steering spends entropy: runs that learn the shipped rule and still write a hundred different texts keep 40 % and
    more. One that fell below a fifth ended with 25 different texts for 100 prompts; another, whose answers are of three
    tokens, with one template filled in. Texts may still differ when it rings: it is meant to come in time.
    """
    recent = [row["entropy"] for row in rows[-WINDOW:]]
    last = sum(recent) / len(recent)
    if len(recent) == WINDOW and rows[0]["step"] == 1 and last < 0.2 * rows[0]["entropy"]:
        return (
            f"entropy has fallen from {rows[0]['entropy']:.2f} to {last:.2f} nats a token: the policy "
            "is about to write one text, or one template, over and over (see distinct_share). A bonus must be the full "
            "softmax's entropy (-log π of the sample has no gradient on average); a higher β or a lower learning rate "
            "help, too"
        )
    return None


def all_truncated(rows: Rows) -> str | None:
    """Over 90 % of the completions cut by `max_new_tokens`, and most groups uniform, mean over `WINDOW` steps.

    A model that does not know when to stop is at 100 %; the shipped one starts at under 10 %. Where groups differ all
    the same, the reward is one that does not ask for an end.
    """
    recent = rows[-WINDOW:]
    cut = 1 - sum(row["finished_rate"] for row in recent) / len(recent)
    uniform = sum(row["zero_variance_share"] for row in recent) / len(recent)
    if len(recent) == WINDOW and cut > 0.9 and uniform > 0.5:
        return (
            f"{cut:.0%} of the completions were cut at max_new_tokens, and what does not end does not pass: raise the "
            "cap, or take a model that was trained to end its answers"
        )
    return None


def end_unscored(rows: Rows) -> str | None:
    """A completion that ended, whose end token is not among the scored ones. No threshold: each of them must be.

    To end is an action like any other. Without its gradient, the length can be learnt from nothing.
    """
    share = rows[-1]["end_scored_share"]
    if share < 1:  # NaN where nothing has ended
        return (
            f"the end token is masked out of {1 - share:.0%} of the completions that have one: the policy cannot learn "
            "when to stop. The mask covers completion tokens up to and including the first end token"
        )
    return None


def critic_diverges(rows: Rows) -> str | None:
    """A critic whose error (root mean square) is more than twice the largest return seen (the same over a batch).

    A critic that says 0 is at 1 or below, and that is where it starts; without a warm-up one overshoots to 1.6.
    """
    if "value_error" not in rows[-1]:
        return None
    error, scale = rows[-1]["value_error"], max(row["return_rms"] for row in rows)
    if error > 2 * scale:
        return (
            f"the critic is off by {error:.2g} where returns are {scale:.2g} in size: 0 would be better. Something "
            "other than its own loss is pushing it: is the advantage detached?"
        )
    return None


ALARMS: tuple[Alarm, ...] = (
    not_finite,
    zero_gradient,
    constant_reward,
    rounded_rewards,
    uniform_groups,
    kl_at_start,
    sampler_mismatch,
    ratio_drift,
    kl_estimate_off,
    entropy_collapse,
    all_truncated,
    end_unscored,
    critic_diverges,
)


def ringing(rows: Rows) -> dict[str, str]:
    """The alarms that the last row sets off: name → sentence."""
    return {alarm.__name__: said for alarm in ALARMS if rows and (said := alarm(rows)) is not None}


def ring_once(rows: Rows, rung: set[str]) -> list[str]:
    """Sentences of the alarms that ring now and are not in `rung` yet; adds them to it."""
    new = {name: said for name, said in ringing(rows).items() if name not in rung}
    rung |= set(new)
    return [f"{said} [{name}]" for name, said in new.items()]
