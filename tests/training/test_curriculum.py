import itertools

from policy_gradients.training.curriculum import ToleranceCurriculum


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
