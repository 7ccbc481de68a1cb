"""The ten failures of the lab, in its own runs of the real `tiny`: each rings its alarm, healthy runs ring none."""

import dataclasses

import pytest

from policy_gradients.course.failures import FAILURES, broken_source, healthy_function, planted
from policy_gradients.course.lab import Lab
from policy_gradients.training import alarms
from policy_gradients.training.alarms import WINDOW, ringing

FAILURE = pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: failure.name)
LONGEST = 14  # steps until the entropy has collapsed; every other alarm rings within `WINDOW`


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("prompts")


@FAILURE
def test_the_wrong_line_is_planted_and_taken_out_again(failure):
    assert hasattr(alarms, failure.alarm)
    source = broken_source(failure)
    assert source.count(failure.wrong) == 1
    function = healthy_function(failure)
    healthy = function.__code__
    with pytest.raises(RuntimeError), planted(failure):
        assert function.__code__ is not healthy
        raise RuntimeError
    assert function.__code__ is healthy


def test_a_right_line_that_is_gone_is_an_error():
    stale = dataclasses.replace(FAILURES[0], right="ratio = 1")
    with pytest.raises(ValueError, match="0 times, not once"), planted(stale):
        pass


@FAILURE
def test_the_diff_takes_the_right_line_out_and_puts_the_wrong_one_in(failure):
    lines = str(failure.diff).splitlines()
    taken, put = (" ".join(line[1:].strip() for line in lines if line.startswith(sign)) for sign in "-+")
    assert failure.right.strip() in taken
    assert " ".join(line.strip() for line in failure.wrong.splitlines()) in put
    assert lines[0].startswith("@@ ") and failure.where.partition(":")[2] in lines[0]
    assert failure.diff._repr_markdown_() == f"```diff\n{failure.diff}\n```"


class Rang(Exception):
    """The alarm has rung: the run has shown what it was made for."""


@pytest.mark.slow
@FAILURE
def test_the_alarm_of_each_failure_rings(failure, folder):
    rows = []

    def until_it_rings(row):
        rows.append(row)
        if failure.alarm in ringing(rows):
            raise Rang

    steps = LONGEST if failure.alarm == "entropy_collapse" else WINDOW
    with pytest.raises(Rang):
        Lab(folder).broken(failure, steps, until_it_rings)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_healthy_runs_ring_none(seed, folder):
    """Five seeds of the lab's run, one step longer than the slowest alarm waits."""
    rows = Lab(folder, seed=seed).healthy(WINDOW + 1)
    assert {name for n in range(1, len(rows) + 1) for name in ringing(rows[:n])} == set()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("failure", [f for f in FAILURES if f.settings], ids=lambda failure: failure.name)
def test_what_a_failure_needs_to_matter_rings_none_by_itself(failure, seed, folder):
    """The same for the settings and the reward that go with a failure: the alarm is that of the line, not of these."""
    rows = Lab(folder, seed=seed).healthy(4, failure)
    assert {name for n in range(1, len(rows) + 1) for name in ringing(rows[:n])} == set()
