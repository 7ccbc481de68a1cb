"""What the check says of answers that no exercise planted."""

import contextlib
import sys
import threading

import pytest
import torch

from policy_gradients.course.exercises.declare import exercise, find
from policy_gradients.course.exercises.grade import grade

grading = sys.modules[grade.__module__]


def declare(reference, cases, answer, mistakes=None, **changes):
    """An exercise around a reference; the mistakes are far-fetched unless they are given."""
    mistakes = mistakes or {word: (lambda *a, word=word: word) for word in ("one", "two", "three")}
    settings = {"title": "T", "difficulty": 1, "minutes": 1, "hints": ["a", "b"], **changes}
    return exercise(reference=reference, cases=cases, mistakes=mistakes, **settings)(answer)


def total(x):
    """The sum."""
    return x.sum()


def sums(cases=lambda generator: [torch.tensor([1.0, 2.0]), torch.tensor([[3.0, 4.0, -1.0]])], **changes):
    return declare(torch.sum, cases, total, **changes)


def told(entry, function) -> str:
    verdict = grade(entry, function)
    assert verdict.outcome == "incorrect", verdict
    return verdict.message


doubled = declare(lambda x: 2 * x, lambda g: [torch.tensor([[1.0, 2.0]]), torch.randn(3, 4, generator=g)], total)


def test_type_shape_and_dtype_are_told_apart():
    assert "should be a tensor of shape (1, 2), yours is 3 (int)" in told(doubled, lambda x: 3)
    assert "should have shape (1, 2), yours has (2, 1)" in told(doubled, lambda x: 2 * x.T)
    assert "should be of dtype float32, yours is float64" in told(doubled, lambda x: 2 * x.double())
    assert "at [0, 1] it should be 4, not 3" in told(
        doubled, lambda x: torch.tensor([[2.0, 3.0]]) if x.numel() == 2 else 2 * x
    )


def test_patterns_in_the_numbers_are_pointed_out():
    assert "opposite" in told(doubled, lambda x: -2 * x)
    assert "1.5 times the reference's" in told(doubled, lambda x: 3 * x)
    assert "plus 1" in told(doubled, lambda x: 2 * x + 1)
    assert "zero everywhere" in told(doubled, lambda x: 0 * x)
    assert "NaN" in told(doubled, lambda x: x / 0 - x / 0)


def test_small_differences_of_rounding_pass_and_larger_ones_do_not():
    assert grade(doubled, lambda x: 2.000001 * x).outcome == "correct"
    assert "wrong in" in told(doubled, lambda x: 2.001 * x)


def test_the_smallest_failing_input_is_shown_not_the_first():
    cases = [torch.tensor([9.0, 1, 2, 3, 4]), torch.arange(6.0), torch.tensor([5.0, 1.0, 2.0]), torch.tensor([1.0])]
    entry = declare(lambda x: x.max(), lambda g: cases, total)
    verdict = grade(entry, lambda x: x[-1])  # right for one number and for rising ones
    assert dict(verdict.shown)["smallest input at which it fails"] == "x = tensor([5., 1., 2.])"
    assert dict(verdict.shown)["yours"] == "tensor(2.)" and dict(verdict.shown)["reference"] == "tensor(5.)"


def test_a_missing_return_is_no_blank():
    def forgot(x):
        result = x.sum()  # noqa: F841

    def idle(x):
        """Said and not done."""

    def gap(x):
        half = ...
        return half * x

    def later(x):
        raise NotImplementedError

    assert "`return` missing" in told(sums(), forgot)
    for function in (idle, gap, later, lambda x: ..., lambda x: None):
        assert grade(sums(), function).outcome == "not attempted", function


def test_an_exception_is_shown_at_the_learners_line():
    def helper(x):
        return x.view(7, 7)  # the line to blame

    def answer(x):
        return helper(x).sum()

    verdict = grade(sums(), answer)
    assert verdict.outcome == "error in your code" and "RuntimeError: shape '[7, 7]'" in verdict.message
    label, code = verdict.shown[0]
    line = helper.__code__.co_firstlineno + 1
    assert (label, code) == ("raised here", f"helper, line {line}:  return x.view(7, 7)  # the line to blame")


def test_a_wrong_signature_is_told_how_it_is_called():
    verdict = grade(sums(), lambda: 1)
    assert verdict.outcome == "error in your code" and "called as `total(x)`" in verdict.message


def test_an_interruption_is_told_without_a_traceback():
    def stuck(x):
        raise KeyboardInterrupt

    verdict = grade(sums(), stuck)
    assert verdict.outcome == "error in your code" and verdict.message.startswith("It was stopped by hand.")


def test_gradients_are_compared_where_an_argument_asks_for_one():
    entry = declare(
        lambda x, w: (x * w.detach()).square(),
        lambda g: [(torch.tensor([1.0, 3.0], requires_grad=True), torch.tensor([2.0, 1.0], requires_grad=True))],
        lambda x, w: None,
    )
    assert grade(entry, lambda x, w: x**2 * w.detach() ** 2).outcome == "correct"
    detached = told(entry, lambda x, w: (x.detach() * w.detach()).square())
    assert "no gradient reaches `x`" in detached and "times the reference's" not in detached
    assert "a gradient flows into `w`" in told(entry, lambda x, w: (x * w).square())
    wrong = told(entry, lambda x, w: (x * w.detach()).detach() * x * w.detach())
    assert "its gradient with respect to `x` is not" in wrong


def test_an_argument_changed_in_place_is_told():
    assert "`x` was changed in place" in told(doubled, lambda x: x.mul_(2))


def test_invalid_inputs_are_cases_like_any_other():
    def strict(x):
        if len(x) == 0:
            raise ValueError("x is empty")
        return x.sum()

    entry = declare(strict, lambda g: [torch.tensor([]), torch.tensor([1.0, 1.0])], total)
    assert "ValueError is expected: x is empty" in told(entry, lambda x: x.sum())
    assert grade(entry, strict).outcome == "correct"


def test_numbers_truth_values_and_pairs():
    half = declare(lambda n: n / 2, lambda g: [1, 2, 5], total)
    assert grade(half, lambda n: torch.tensor(n / 2, dtype=torch.float64)).outcome == "correct"
    assert "should be 0.5 here, yours is 0" in told(half, lambda n: n // 2)
    assert "should be a number" in told(half, lambda n: str(n))
    even = declare(lambda n: n % 2 == 0, lambda g: [1, 2, 5], total)
    assert grade(even, lambda n: torch.tensor(n % 2 == 0)).outcome == "correct"
    assert "True or False, yours is 1 (int)" in told(even, lambda n: n % 2)
    pair = declare(lambda n: (n, n + 1), lambda g: [1, 2, 5], total)
    assert grade(pair, lambda n: [n, n + 1]).outcome == "correct"
    assert "should hold 2 values" in told(pair, lambda n: n)
    assert "Value 2 of 2 should be 2 here, yours is 1" in told(pair, lambda n: (n, n))


def test_a_mistake_on_most_of_the_failing_inputs_is_offered_as_a_guess():
    entry = find("leave_one_out")
    message = next(iter(entry.mistakes))

    def mostly(rewards):
        return rewards - rewards.mean(1, keepdim=True) * (1.5 if rewards.shape[1] == 5 else 1)

    verdict = grade(entry, mostly)
    assert verdict.mistake == message and f"On some inputs it looks like this: {message}" in verdict.message
    assert "wrong in" in verdict.message


def test_of_two_mistakes_the_one_in_the_values_is_named_first():
    entry = find("reinforce_loss")

    def two(log_probs, rewards):  # the minus is forgotten, and so is the detach
        return (log_probs * rewards).mean()

    verdict = grade(entry, two)
    assert verdict.message.startswith("The sign is flipped") and "It is not the only one" in verdict.message
    assert grade(entry, lambda log_probs, rewards: -two(log_probs, rewards)).message.startswith("The value is right")


def test_the_random_state_is_left_alone_and_a_check_repeats():
    def noisy(x):
        return 2 * x + torch.randn_like(x)

    verdicts = []
    for seed in (3, 4):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        verdicts.append(grade(doubled, noisy))
        assert torch.equal(torch.get_rng_state(), before)
    assert verdicts[0] == verdicts[1]


@pytest.mark.parametrize(
    "changes", [{"difficulty": 4}, {"minutes": 0}, {"hints": ["one"]}, {"mistakes": {"a": total, "b": total}}]
)
def test_a_careless_declaration_is_refused(changes):
    with pytest.raises(ValueError, match="total: "):
        sums(**changes)


def test_an_unknown_name_is_told_its_neighbours():
    with pytest.raises(ValueError, match="did you mean leave_one_out"):
        find("leave_on_out")


def test_a_lambda_is_told_to_become_a_function():
    with pytest.raises(ValueError, match=r"a lambda has no name.*write it as a function"):
        find("<lambda>")


def test_a_loop_without_end_is_stopped_and_its_line_shown(monkeypatch):
    monkeypatch.setattr(grading, "SECONDS", 0.2)

    def endless(x):
        while True:
            with contextlib.suppress(Exception):
                x = x + 1

    def bare(x):
        while True:
            try:
                x = x + 1
            except:  # noqa: E722
                x = x - 1
                if x.numel() > 1:
                    raise

    for function in (endless, bare):
        for verdict in (grade(sums(), function), in_a_thread(lambda f=function: grade(sums(), f))):
            assert verdict.outcome == "error in your code" and "still running after 0.2 seconds" in verdict.message
            label, where = verdict.shown[0]
            assert label == "it was here" and where.startswith(function.__name__ + ", line")
            assert verdict.shown[1] == ("input", "x = tensor([1., 2.])")
    assert grade(sums(), total).outcome == "correct", "what stopped one answer does not reach the next"


def in_a_thread(function):
    """Its value, computed outside the main thread, as some kernels run cells."""
    values = []
    thread = threading.Thread(target=lambda: values.append(function()))
    thread.start()
    thread.join(20)
    return values[0]


def test_an_answer_that_calls_backward_is_told_to_return():
    entry = find("reinforce_loss")

    def steps(log_probs, rewards):
        loss = -(rewards.detach() * log_probs).mean()
        loss.backward()
        return loss

    assert "calls `backward` itself" in told(entry, steps)


def test_a_dimension_of_one_is_named_at_an_input_that_shows_it():
    entry = find("token_loss")
    verdict = grade(entry, lambda log_probs, advantages: (-advantages.detach()[:, None] * log_probs)[None])
    assert "should have shape (2, 2), yours has (1, 2, 2)" in verdict.message and "too many" in verdict.message
    kept = told(find("effective_samples"), lambda w: w.sum(-1, keepdim=True) ** 2 / (w * w).sum(-1, keepdim=True))
    assert "single number" in kept or "too many" in kept
    few = declare(lambda x: x.sum(1, keepdim=True), lambda g: [torch.ones(2, 3)], total)
    assert "too few: is a `keepdim=True`" in told(few, lambda x: x.sum(1))


def test_two_truth_values_are_no_truth_value():
    even = declare(lambda n: n % 2 == 0, lambda g: [1, 2, 5], total)
    assert "True or False" in told(even, lambda n: torch.tensor([True, False]))
    assert "single number" in told(sums(), lambda x: torch.ones(2))


def test_item_is_told_and_warns_of_nothing(recwarn):
    assert "no gradient reaches" in told(
        find("reinforce_loss"), lambda log_probs, rewards: -(rewards * log_probs).mean().item()
    )
    assert not [warning for warning in recwarn if "grade" in warning.filename]


def test_gradients_are_those_by_the_logits_where_an_input_is_normalised():
    assert grade(find("full_entropy"), lambda x: torch.distributions.Categorical(logits=x).entropy()).outcome == (
        "correct"
    )
    assert "no gradient reaches" in told(
        find("full_entropy"), lambda x: torch.distributions.Categorical(logits=x.detach()).entropy()
    )


def test_infinite_divergence_may_not_be_hidden():
    entry = find("exact_kl")

    def hidden(log_pi, log_ref):
        return (log_pi.exp() * (log_pi - log_ref)).nan_to_num(0, posinf=0).sum(-1)

    assert "costs infinitely much" in told(entry, hidden)
    assert grade(entry, lambda a, b: torch.where(a.isneginf(), 0.0, a.exp() * (a - b)).sum(-1)).outcome == "correct"


def test_equal_rewards_are_not_told_by_their_standard_deviation():
    assert "need not be 0" in told(find("silent_share"), lambda r: (r.std(1) == 0).float().mean())


def test_another_epsilon_is_not_taken_for_none():
    def smaller(rewards):
        return (rewards - rewards.mean(1, keepdim=True)) / (rewards.std(1, keepdim=True) + 1e-6)

    message = told(find("grpo_advantages"), smaller)
    assert "0/0" not in message and "The 1e-4 is another number" in message


def test_a_factor_of_one_is_no_factor():
    pair = declare(lambda x: (x.double() / 3).float(), lambda g: [torch.rand(50, generator=g)], total)
    assert "times the reference's" not in told(pair, lambda x: (x / 3).unsqueeze(0))
    noisy = told(pair, lambda x: x / 3 * torch.where(torch.arange(50) == 7, 1.001, 1.0))
    assert "1 times" not in noisy


def test_a_number_beyond_all_bounds_is_no_number():
    half = declare(lambda n: n / 2, lambda g: [1, 2, 5], total)
    assert "should be 0.5 here" in told(half, lambda n: 10**30)
    assert "should be a number" in told(half, lambda n: 10**400)
