"""`policy-gradients ablate`: what it prints of the runs there are, and how it refuses."""

import re
import shutil

import pytest

from policy_gradients.cli import main
from policy_gradients.studies.study import load_study

STUDY = load_study("entropy")


def test_the_table_the_verdicts_and_the_figure_of_runs_that_are_there(tmp_path, write_runs, capsys):
    levels = {"off": 0.2, "constant 0.01": 0.5, "variance": 0.3}
    rates = {(arm, seed): [x + seed / 100] * 40 for arm, x in levels.items() for seed in STUDY.seeds}
    write_runs(STUDY, tmp_path, rates)
    assert main(["ablate", "entropy", "--table-only", "--output-dir", str(tmp_path)]) == 0
    told, said = capsys.readouterr()
    assert re.search(r"^off +10 +2[45] % \[2\d, 2\d\]", told, re.MULTILINE)
    assert "constant 0.01 better than off in mean_strict_rate" in told and "+0.3" in told
    assert "constant 0.01, by mean_strict_rate: the claim holds. It is better than off." in told
    assert (
        "variance, by mean_strict_rate: the claim fails (so far 0 of 10 seeds). It is worse than constant 0.01" in told
    )
    assert "inverse variance, by mean_strict_rate: the claim is undecided (so far 0 of 10 seeds)" in told
    assert (tmp_path / "entropy.png").exists() and "entropy.png" in said


def test_a_first_seed_has_a_table_and_no_verdict(tmp_path, write_runs, capsys):
    write_runs(STUDY, tmp_path, {(arm, 0): [0.5] * 40 for arm in STUDY.arms})
    assert main(["ablate", "entropy", "--table-only", "--output-dir", str(tmp_path)]) == 0
    told, said = capsys.readouterr()
    assert len(told.splitlines()) == 1 + len(STUDY.arms) and "have two seeds in common yet; run more of it" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["entropie"],
            "there is no study 'entropie'; known are advantages, aggregation, clip,",
        ),
        (["entropy", "--seeds", "0-x"], "seeds are whole numbers, such as 0-9"),
        (["entropy", "--seeds", "5-1"], "the seeds 5-1 are none"),
        (["entropy", "--jobs", "0"], "jobs must be at least 1, got 0"),
        (["entropy", "--table-only"], "holds no run of the study entropy yet"),
    ],
)
def test_bad_input_is_one_line(tmp_path, words, said, capsys):
    assert main(["ablate", *words, "--output-dir", str(tmp_path)]) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("error: ") and said in last
    assert not list(tmp_path.iterdir()), "nothing was begun"


def test_runs_that_are_there_are_not_run_over(tmp_path, write_runs, capsys):
    write_runs(STUDY, tmp_path, {("off", 0): [0.5] * 40})
    assert main(["ablate", "entropy", "--output-dir", str(tmp_path)]) == 2
    refused = capsys.readouterr().err
    assert "holds runs already; go on with --resume" in refused and "run/s" not in refused, "no bar for nothing"
    other = tmp_path / "constant 0.01"
    shutil.copytree(tmp_path / "off", other)
    assert main(["ablate", "entropy", "--table-only", "--output-dir", str(tmp_path)]) == 2
    assert "was run with other settings: entropy" in capsys.readouterr().err
