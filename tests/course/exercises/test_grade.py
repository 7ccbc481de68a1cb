"""What the check says of answers that no exercise planted."""

import pytest
import torch

from policy_gradients.course.exercises.declare import exercise, find
from policy_gradients.course.exercises.grade import grade


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


def test_an_interruption_passes_through():
    def stuck(x):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        grade(sums(), stuck)


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
