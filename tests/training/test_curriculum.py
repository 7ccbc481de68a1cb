import itertools
import math

from policy_gradients.language.rewards import passes
from policy_gradients.language.rules import ExactLength
from policy_gradients.language.tasks import CheckerTask
from policy_gradients.training.config import make_config
from policy_gradients.training.curriculum import ToleranceCurriculum
from policy_gradients.training.loop import train
from policy_gradients.training.run_folder import read_metrics


def run(curriculum, share, steps):
    tolerances = []
    for _ in range(steps):
        curriculum.update(share)
        tolerances.append(curriculum.tolerance)
    return tolerances


def test_success_narrows_it_down_to_the_strict_rule():
    tolerances = run(ToleranceCurriculum(16, 16, 0.5, 0.25), share=0.9, steps=40)
    assert tolerances == sorted(tolerances, reverse=True)
    assert tolerances[-1] == 0


def test_it_steps_back_after_failure_but_never_beyond_its_start():
    curriculum = ToleranceCurriculum(16, 16, 0.5, 0.25)
    run(curriculum, 0.9, 20)
    narrow = curriculum.tolerance
    tolerances = run(curriculum, 0.0, 60)
    assert max(tolerances) == 16 > narrow
    assert tolerances[-1] == 16


def test_between_the_thresholds_it_stays():
    assert set(run(ToleranceCurriculum(8, 16, 0.5, 0.25, success=0.4), share=0.4, steps=10)) == {8}


def test_a_patient_one_waits_after_each_step():
    tolerances = run(ToleranceCurriculum(16, 16, 0.6, 0.2, patient=True), share=0.9, steps=60)
    assert tolerances[:4] == [16, 16, 16, 14]
    assert tolerances[-1] == 0
    moves = [t for t, (a, b) in enumerate(itertools.pairwise(tolerances)) if a != b]
    assert min(later - earlier for earlier, later in itertools.pairwise(moves)) >= 2


def test_it_can_leave_zero_again():
    curriculum = ToleranceCurriculum(0, 16, 0.5, 0.25)
    assert run(curriculum, 0.0, 1) == [1]


def test_by_the_median_the_nearer_half_of_the_last_batch_is_within():
    curriculum = ToleranceCurriculum(24, 24, 0.5, 0.3)
    for distances, tolerance in (
        ([30, 40, 26, 50], 24),  # never wider than it began
        ([9, 1, 30, 4], 4),
        ([5, 3, 8], 5),
        ([0, 0, 7, 9], 0),
        ([2, 2, 2, 2], 2),
        ([12], 12),  # and wider again, at once
        ([3, 4, math.inf, math.inf], 4),
        ([3, math.inf, math.inf, math.inf], 24),  # less than half could pass at all
    ):
        curriculum.follow(distances)
        assert curriculum.tolerance == tolerance
        within = sum(distance <= curriculum.tolerance for distance in distances)
        assert within >= len(distances) / 2 or tolerance == curriculum.maximum
        assert type(curriculum.tolerance) is int


def test_a_run_by_the_median_follows_what_each_step_wrote(micro_folder, tmp_path, monkeypatch):
    """What the checker says of each text at every tolerance, against the distances that the curriculum is told."""
    seen, written = [], []
    follow, rates = ToleranceCurriculum.follow, CheckerTask.rates

    def watched(curriculum, distances):
        follow(curriculum, distances)
        seen.append((list(distances), curriculum.tolerance))

    monkeypatch.setattr(ToleranceCurriculum, "follow", watched)
    monkeypatch.setattr(CheckerTask, "rates", lambda task, each: written.append(list(each)) or rates(task, each))
    config = make_config(
        model=str(micro_folder), num_prompts=4, num_generations=8, max_new_tokens=12, max_prompt_tokens=128,
        max_steps=3, start_tolerance=12, curriculum_gate="median", rule="length=8", precision="no", temperature=1.5,
    )  # fmt: skip
    folder = train(config, tmp_path / "run", progress=False)
    rows = read_metrics(folder / "metrics.jsonl")
    assert [row["tolerance"] for row in rows] == [12, *(tolerance for _, tolerance in seen[:2])]
    for (distances, tolerance), completions in zip(seen, written, strict=True):
        for distance, completion in zip(distances, completions, strict=True):
            passing = [t for t in range(13) if passes(ExactLength(8, t), completion)]
            assert distance == min(passing, default=math.inf)
        assert tolerance == min(12, sorted(distances)[15])
    told = [distance for distances, _ in seen for distance in distances]
    assert math.inf in told and min(told) < 12
