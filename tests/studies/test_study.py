"""What can be declared is what can be run; all else is one line that says what is wrong."""

import pytest
import yaml

from policy_gradients.studies.study import (
    HIGHER_IS_BETTER,
    METRICS,
    Hypothesis,
    load_study,
    parse_seeds,
    shipped_studies,
)
from policy_gradients.training.config import flat_of

GOOD = {
    "question": "Does it?",
    "decision": "Only if.",
    "preset": "tiny-sparse",
    "settings": {"max_steps": 2, "entropy_weight": 0.0, "entropy_schedule": "constant"},
    "arms": {"without": {}, "with": {"entropy_weight": 0.01}},
    "hypotheses": [{"arm": "with", "against": "without", "metric": "pass_rate", "smallest": 0.05}],
}


def declared(tmp_path, **changes):
    """The study of a file that holds `GOOD`, with changes; None takes a part away."""
    content = {key: value for key, value in {**GOOD, **changes}.items() if value is not None}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return load_study(str(tmp_path / "mine.yaml"))


def test_a_study_of_ones_own(tmp_path):
    study = declared(tmp_path, seeds="0-2,7", num_prompts=5)
    assert (study.name, study.seeds, study.num_prompts, list(study.arms)) == (
        "mine",
        (0, 1, 2, 7),
        5,
        ["without", "with"],
    )
    assert study.hypotheses == (Hypothesis("with", "without", "pass_rate", 0.05),)
    config = flat_of(study.config("with", 7))
    assert (config["seed"], config["entropy_weight"], config["max_steps"]) == (7, 0.01, 2)
    with pytest.raises(ValueError, match="unknown arm 'other' of the study mine; known are without, with"):
        study.config("other", 0)


@pytest.mark.parametrize("name", shipped_studies())
def test_each_shipped_study_can_be_run_and_has_seeds_enough_for_a_verdict(name):
    from policy_gradients.studies.analysis import least_seeds

    study = load_study(name)
    assert study.name == name and len(study.seeds) >= least_seeds(len(study.hypotheses))
    assert study.skip_prompts >= 100, "the first hundred held-out prompts chose settings"
    flat = [flat_of(study.config(arm, 0)) for arm in study.arms]
    assert all(one != other for i, one in enumerate(flat) for other in flat[:i]), "two arms are the same"


def test_the_arms_of_the_entropy_study_differ_in_the_bonus_alone():
    study = load_study("entropy")
    flat = [flat_of(study.config(arm, 3)) for arm in study.arms]
    rest = [{key: value for key, value in each.items() if not key.startswith("entropy_")} for each in flat]
    assert all(each == rest[0] for each in rest) and len(flat) == 7
    dynamic, constant = ("inverse variance", "variance", "target"), [arm for arm in study.arms if "constant" in arm]
    asked = {(each.arm, each.against) for each in study.hypotheses if each.against != "off"}
    assert asked == {(arm, other) for arm in dynamic for other in constant}
    assert all((each.metric, each.smallest) == ("mean_strict_rate", 0.03) for each in study.hypotheses)


def test_every_metric_is_described_and_has_a_direction():
    assert METRICS.keys() == HIGHER_IS_BETTER.keys()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"question": None}, "a study needs question"),
        ({"question": " "}, "question must be a sentence"),
        ({"decision": 5}, "decision must be a sentence"),
        ({"colour": "red"}, "a study has no colour; known are question"),
        ({"preset": "huge"}, "unknown preset 'huge'"),
        ({"arms": {"one": {}}}, "needs two arms to compare, got one"),
        ({"arms": ["with", "without"]}, "arms must be a table"),
        ({"arms": {"a/b": {}, "c": {}}}, "'a/b' cannot be one"),
        ({"arms": {False: {}, "with": {}}}, "False cannot be one"),
        ({"arms": {"without": {}, "with": {"seed": 3}}}, "the arm with must be a table of settings without a seed"),
        ({"arms": {"without": {}, "with": {"entropy_wait": 1}}}, "the arm with: "),
        ({"arms": {"without": {}, "with": {"entropy_weight": -1}}}, "the arm with: "),
        ({"settings": [1]}, "settings must be a table"),
        ({"hypotheses": []}, "hypotheses must be a list of at least one"),
        ({"hypotheses": [{"arm": "with"}]}, "a hypothesis needs against, metric, smallest"),
        ({"hypotheses": [{**GOOD["hypotheses"][0], "arm": "other"}]}, "speaks of the arm 'other'"),
        ({"hypotheses": [{**GOOD["hypotheses"][0], "against": "with"}]}, "compares 'with' with itself"),
        ({"hypotheses": [{**GOOD["hypotheses"][0], "metric": "loss"}]}, "unknown metric 'loss'; known are mean_strict"),
        ({"hypotheses": [{**GOOD["hypotheses"][0], "smallest": 0}]}, "smallest must be above 0"),
        ({"hypotheses": [{**GOOD["hypotheses"][0], "smallest": float("inf")}]}, "smallest must be above 0"),
        ({"hypotheses": GOOD["hypotheses"] * 2}, "with better than without in pass_rate is declared twice"),
        ({"seeds": "0-x"}, "seeds are whole numbers"),
        ({"num_prompts": "many"}, "num_prompts must be a whole number of at least 1, got 'many'"),
        ({"skip_prompts": -1}, "skip_prompts must be a whole number of at least 0"),
        ({"perplexity_texts": True}, "perplexity_texts must be a whole number"),
        ({"hypotheses": [{**GOOD["hypotheses"][0], "smallest": True}]}, "smallest must be above 0"),
        ({"arms": {"without": {}, "with": {}}}, "the arms without and with differ in nothing"),
        ({"arms": {"without": {}, "with": {"entropy_weight": 0}}}, "the arms without and with differ in nothing"),
        (
            {"arms": {"a": {"max_steps": 3}, "with": {}, "without": {"max_steps": 3}}},
            "the arms a and without differ in",
        ),
    ],
)
def test_what_cannot_be_run_is_refused_when_it_is_read(tmp_path, changes, said):
    with pytest.raises(ValueError, match=r"mine\.yaml declares no study that could be run: ") as error:
        declared(tmp_path, **changes)
    assert said in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "- a list", "just words", "5"])
def test_a_file_that_holds_something_else(tmp_path, text):
    (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="a study must be a table of question"):
        load_study(str(tmp_path / "mine.yaml"))


@pytest.mark.parametrize("text", ["{", "a: [", "\t- x", "a: !!python/object:os.system {}"])
def test_a_file_that_is_no_yaml(tmp_path, text):
    (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="is no YAML: "):
        load_study(str(tmp_path / "mine.yaml"))


def test_a_study_that_is_not_there():
    with pytest.raises(ValueError, match=r"there is no study 'entropie'; known are .*entropy.*, or a file"):
        load_study("entropie")


@pytest.mark.parametrize(
    ("text", "seeds"), [("3", (3,)), ("0-2", (0, 1, 2)), ("5, 0-1,1", (0, 1, 5)), ("7-7", (7,)), ("00", (0,))]
)
def test_seeds(text, seeds):
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "a", "-1", "1-", "1--2", "3-1", "0-99999", "1.5", "²", "9" * 30, "0,,1"])
def test_what_are_no_seeds(text):
    with pytest.raises(ValueError, match="seeds"):
        parse_seeds(text)


def test_numbers_may_be_written_with_an_exponent(tmp_path):
    """YAML 1.1 would take 1e-4 for text."""
    path = tmp_path / "own.yaml"
    path.write_text(
        "question: q\ndecision: d\npreset: tiny\narms: {a: {learning_rate: 1e-4}, b: {learning_rate: 2E-4}}\n"
        "hypotheses: [{arm: a, against: b, metric: kl, smallest: 1e0}]\n",
        encoding="utf-8",
    )
    study = load_study(str(path))
    assert [study.config(arm, 0).learning_rate for arm in "ab"] == [1e-4, 2e-4]
    assert study.hypotheses[0].smallest == 1


HEAD = "question: q\ndecision: d\npreset: tiny-grpo\nhypotheses: [{arm: a, against: b, metric: kl, smallest: 1}]\n"


def written(tmp_path, text):
    """The study of a file that says so after `HEAD`."""
    (tmp_path / "own.yaml").write_text(HEAD + text, encoding="utf-8")
    return load_study(str(tmp_path / "own.yaml"))


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("arms: {a: {}, b: {kl_weight: .1}, a: {kl_weight: .2}}", "a"),
        ("arms: {a: {}, b: {kl_weight: .1, kl_weight: .5}}", "kl_weight"),
        ("num_prompts: 5\nnum_prompts: 6\narms: {a: {}, b: {kl_weight: .1}}", "num_prompts"),
        ('arms: {a: {}, "a": {kl_weight: .1}, b: {}}', "a"),
    ],
)
def test_a_key_that_is_there_twice_is_refused(tmp_path, text, key):
    with pytest.raises(ValueError, match=rf"own\.yaml is no YAML: the key '{key}' is there twice .*line [5-7]"):
        written(tmp_path, text)


def test_a_table_may_still_take_over_another(tmp_path):
    study = written(tmp_path, "arms: {a: &a {kl_weight: .1, max_steps: 3}, b: {<<: *a, kl_weight: .2}}")
    assert study.arms["b"] == {"kl_weight": 0.2, "max_steps": 3}


@pytest.mark.parametrize("number", ["010", "1:30", "0x10", "0b11", "1_0", "+07", "1:30.5", "0o7"])
def test_other_spellings_of_numbers_are_text(tmp_path, number):
    with pytest.raises(ValueError, match=r"the arm b: max_steps must be a whole number, got '"):
        written(tmp_path, f"arms: {{a: {{}}, b: {{max_steps: {number}}}}}")
    with pytest.raises(ValueError, match="num_prompts must be a whole number of at least 1, got '"):
        written(tmp_path, f"num_prompts: {number}\narms: {{a: {{}}, b: {{max_steps: 3}}}}")


def test_numbers_are_those_that_they_look_like(tmp_path):
    study = written(tmp_path, "seeds: 010\narms: {a: {kl_weight: .5}, b: {kl_weight: 1.5e-1, max_steps: +7}}")
    assert study.seeds == (10,) and study.arms == {"a": {"kl_weight": 0.5}, "b": {"kl_weight": 0.15, "max_steps": 7}}


def test_an_arm_that_sets_what_the_preset_has_is_no_other(tmp_path):
    with pytest.raises(ValueError, match="the arms a and b differ in nothing"):
        written(tmp_path, "arms: {a: {}, b: {kl_weight: 0.08}}")
    assert list(written(tmp_path, "arms: {a: {}, b: {kl_weight: 0.09}}").arms) == ["a", "b"]


@pytest.mark.parametrize("text", ["2020-99-99", "!!bool x", "!!timestamp x", "!!int ''", "9" * 5000])
def test_a_value_that_its_tag_does_not_fit_is_one_line(tmp_path, text):
    with pytest.raises(ValueError, match=r"own\.yaml is no YAML: ") as error:
        written(tmp_path, f"seeds: {text}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a\0b", "a control character"),
        ("a\nb", "a control character"),
        ("a\ud800", "half of a character"),
        ("x" * 300, "more than 255 bytes"),
        ("é" * 128, "more than 255 bytes"),
        ("con", "for a device"),
        ("LPT1.txt", "for a device"),
        ("a ", "ends with a space or a dot"),
        ("a.", "ends with a space or a dot"),
        ("..", "ends with a space or a dot"),
        ("", "no text"),
        ("WITH", "beside the arm 'with'"),
        ("mine.png", "beside the study's figure"),
        ("Mine.PNG", "beside the study's figure"),
    ],
)
def test_an_arm_whose_name_cannot_be_a_folders_is_refused(tmp_path, name, said):
    with pytest.raises(ValueError, match="cannot be one") as error:
        declared(tmp_path, arms={**GOOD["arms"], name: {"entropy_weight": 0.02}})
    assert said in str(error.value) and "\n" not in str(error.value)


def test_two_spellings_of_one_name_share_a_folder(tmp_path):
    with pytest.raises(ValueError, match="cannot be one beside the arm 'caf"):
        declared(tmp_path, arms={**GOOD["arms"], "café": {"max_steps": 3}, "cafe\u0301": {"max_steps": 4}})


@pytest.mark.parametrize("name", ["REINFORCE++", "16 x 2", "con 1", "comma", ".5", "λ = 1", "x" * 255])
def test_other_names_are_folders(tmp_path, name):
    arms = {**GOOD["arms"], name: {"max_steps": 3}}
    assert list(declared(tmp_path, arms=arms).arms) == list(arms)
    (tmp_path / name).mkdir()
