import json

import pytest

from policy_gradients.cli import _report_text
from policy_gradients.evaluation import evaluate
from policy_gradients.evaluation.evaluate import evaluate_policy, evaluate_run, over_floor, sample_run, write_report
from policy_gradients.evaluation.statistics import kl_floor, wilson_interval
from policy_gradients.language.models import ModelError
from policy_gradients.training.loop import train
from policy_gradients.training.presets import preset

CONTRACT = {
    "pass_rate", "pass_rate_interval", "mean_reward", "length_rate", "digit_rate", "finished_rate",
    "distinct_completions", "entropy", "kl_to_reference", "reference_nll_per_token", "heldout_perplexity",
}  # fmt: skip


@pytest.fixture(scope="module")
def run_folder(micro_folder, tmp_path_factory):
    settings = {"num_prompts": 2, "num_generations": 4, "max_new_tokens": 8, "max_prompt_tokens": 128, "max_steps": 3}
    config = preset("tiny", model=str(micro_folder), precision="no", learning_rate=1e-2, rule="digits%3=0", **settings)
    return train(config, tmp_path_factory.mktemp("run") / "run", progress=False)


@pytest.fixture(scope="module")
def report(run_folder):
    return evaluate_run(run_folder, num_prompts=12, seed=1, reference_samples=60)


def test_the_report_keeps_the_contract(report, tmp_path):
    for side in ("tuned", "reference"):
        assert set(report[side]) >= CONTRACT
        low, high = report[side]["pass_rate_interval"]
        assert 0 <= low <= report[side]["pass_rate"] <= high <= 1
    assert {"kl_floor", "num_prompts", "seed"} <= set(report)
    assert len(report["completions"]) == 12
    write_report(report, tmp_path / "report.json")
    assert json.loads((tmp_path / "report.json").read_text())["num_prompts"] == 12


def test_the_reference_is_at_no_distance_from_itself(report):
    reference = report["reference"]
    assert reference["kl_to_reference"] == pytest.approx(0, abs=1e-4)
    assert report["tuned"]["kl_to_reference"] > 1e-3


def test_the_reference_reweights_its_own_samples_to_its_own_rate(report):
    reference = report["reference"]
    assert reference["reference_pass_rate_by_importance"] == pytest.approx(reference["pass_rate"], rel=1e-3)


def test_a_reference_that_never_passes_bounds_the_floor(run_folder):
    report = evaluate_run(run_folder, num_prompts=3, reference_samples=60, rule="length=1000")
    assert report["reference_pass_rate"] == 0
    assert report["kl_floor"] == 0  # the tuned policy does not pass either: nothing is owed
    assert report["reference_pass_rate_by_importance"] == 0
    assert "0.0 nats, the tuned policy passes no more often" in _report_text(report) and "nan" not in _report_text(
        report
    )


def test_that_bound_is_the_floor_of_the_largest_chance_in_the_interval(run_folder, monkeypatch):
    def passing(*arguments):
        numbers, completions = evaluate_policy(*arguments)
        return {**numbers, "pass_rate": 0.9}, completions

    monkeypatch.setattr(evaluate, "evaluate_policy", passing)
    monkeypatch.setattr(evaluate, "reference_pass_count", lambda *arguments: (0, 2000))
    report = evaluate_run(run_folder, num_prompts=3)
    assert report["kl_floor"] == kl_floor(0.9, wilson_interval(0, 2000)[1]) > 5
    text = _report_text(report)
    assert "KL floor at least" in text and "the tuned policy is at most" in text and "reweighted" in text
    assert "times the floor\n" in text  # a bound has no interval around it


def test_fewer_articles_and_low_precision_are_written_into_the_report(run_folder):
    report = evaluate_run(run_folder, 3, reference_samples=6, perplexity_texts=2, precision="bf16")
    assert (report["perplexity_texts"], report["precision"]) == (2, "bf16")
    assert report["tuned"]["kl_to_reference"] > 0
    whole = evaluate_run(run_folder, 3, reference_samples=6, perplexity_texts=2)
    assert report["reference"]["heldout_perplexity"] == pytest.approx(
        whole["reference"]["heldout_perplexity"], rel=0.02
    )


def test_the_checks_that_are_marked_are_those_that_count(report):
    for row in report["completions"]:
        for side in (row["before"], row["after"]):
            assert side["passed"] == all(side["checks"].values())
    assert report["tuned"]["pass_rate"] == sum(row["after"]["passed"] for row in report["completions"]) / 12


def test_one_seed_one_report_another_seed_another(run_folder, report):
    again = evaluate_run(run_folder, num_prompts=12, seed=1, reference_samples=60)
    assert again == report or json.dumps(again) == json.dumps(report)  # NaN equals NaN as text
    other = evaluate_run(run_folder, num_prompts=12, seed=2, reference_samples=60)
    assert [row["excerpt"] for row in other["completions"]] != [row["excerpt"] for row in report["completions"]]


def test_another_rule_can_be_evaluated(run_folder):
    report = evaluate_run(run_folder, num_prompts=3, reference_samples=6, rule="length=5")
    assert report["rule"] == "length=5"
    assert set(report["completions"][0]["after"]["checks"]) == {"finished", "length=5"}


def test_samples(run_folder):
    samples = sample_run(run_folder, "The river is long.", n=3)
    assert len(samples) == 3
    assert sample_run(run_folder, "The river is long.", n=3) == samples


def test_bad_input(run_folder, tmp_path):
    with pytest.raises(ValueError, match=r"num_prompts must lie in \[1, "):
        evaluate_run(run_folder, num_prompts=100_000)
    with pytest.raises(ValueError, match="holds no run"):
        evaluate_run(tmp_path)
    with pytest.raises(ValueError, match="no held-out rows to evaluate on"):
        evaluate.report_rows([], 10, 0, 0)
    with pytest.raises(ValueError, match="perplexity_texts must be at least 1"):
        evaluate_run(run_folder, num_prompts=3, perplexity_texts=0)
    with pytest.raises(ValueError, match="precision must be no, bf16 or fp16"):
        evaluate_run(run_folder, num_prompts=3, precision="bfloat16")
    with pytest.raises(ValueError, match="n must be at least 1"):
        sample_run(run_folder, "x", n=0)
    (tmp_path / "config.json").write_text((run_folder / "config.json").read_text())
    with pytest.raises(ModelError, match="no trained model yet"):
        evaluate_run(tmp_path)


def test_a_report_skips_the_prompts_that_settings_were_chosen_by():
    """The same order, other rows, and random numbers of their own."""
    rows = [{"excerpt": str(i)} for i in range(30)]
    first, draws = evaluate.report_rows(rows, 10, 0, 1)
    later, other_draws = evaluate.report_rows(rows, 20, 10, 1)
    assert sorted(int(row["excerpt"]) for row in first + later) == list(range(30))
    assert draws == 1 and other_draws != draws
    assert evaluate.report_rows(rows, 30, 0, 1)[0] == first + later
    for bad in ((0, 0), (31, 0), (20, 11), (20, -1)):
        with pytest.raises(ValueError, match=r"must lie in \["):
            evaluate.report_rows(rows, *bad, 1)


def test_beside_a_bound_there_is_no_interval():
    tuned = {"pass_rate": 0.9, "kl_to_reference": 20.0, "kl_standard_error": 0.1}
    none, some = (over_floor(tuned, 90, 100, passed, 1000, 0) for passed in (0, 10))
    assert none["kl_over_floor_interval"] is None and none["reference_pass_rate"] == 0
    assert none["kl_over_floor"] == 20.0 / kl_floor(0.9, none["reference_pass_rate_interval"][1])
    low, high = some["kl_over_floor_interval"]
    assert low < some["kl_over_floor"] == 20.0 / kl_floor(0.9, 0.01) < high
