from pathlib import Path

import pytest

from policy_gradients.course.stored_studies import stored_study
from policy_gradients.studies.study import shipped_studies

RESULTS = Path(__file__).parents[2] / "results"


def test_a_study_whose_runs_are_kept_is_shown():
    groups = stored_study("groups", RESULTS)
    assert groups.asked.startswith("At equal completions a step") and "Holm" in groups.asked
    assert [row[:2] for row in groups.arms("kl").rows] == [[arm, "10"] for arm in groups.study.arms]
    assert len(groups.verdicts().rows) == len(groups.study.hypotheses)
    assert groups.figure() is not None and "4 prompts of 8" in groups.figure().get_label()
    assert groups.arms_that_win("4 prompts of 8") == "none of them"
    assert "16 prompts of 2, by distinct_share: the claim fails" in groups.sentences()


@pytest.mark.parametrize("name", shipped_studies())
def test_where_no_run_is_kept_there_is_nothing_to_show(name, tmp_path):
    empty = stored_study(name, tmp_path)
    assert not empty.comparisons and not empty.arms("kl").rows and not empty.verdicts().rows
    assert empty.figure() is None and empty.sentences() == "" and empty.arms_that_win("off") == "none of them"


def test_who_wins_is_told_in_the_order_of_the_hypotheses():
    divergence = stored_study("divergence", RESULTS)
    assert divergence.arms_that_win("none", "kl") == "reward, exact and loss, exact"
    assert divergence.arms_that_win("reward, exact") == "none"


def test_an_arm_that_stands_in_several_studies_came_out_the_same():
    """Equal settings and seeds: the same curves to the digit, by which one of them may stand for the others."""
    arms = (("advantages", "GRPO"), ("groups", "4 prompts of 8"), ("divergence", "none"), ("clip", "once"))
    studies = {name: stored_study(name, RESULTS) for name, _ in arms}
    for seed in range(10):
        curves = [studies[name].runs[arm][seed]["curves"] for name, arm in arms]
        assert all(each == curves[0] for each in curves)
