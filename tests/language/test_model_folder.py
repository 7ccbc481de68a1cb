import json
import shutil

import pytest

from policy_gradients.language import templates
from policy_gradients.language.limits import ModelError
from policy_gradients.language.model_folder import require_model_folder
from policy_gradients.language.models import load_model
from policy_gradients.language.prompts import prompt_ids
from policy_gradients.language.rules import ExactLength
from policy_gradients.language.templates import EndlessTemplate, render


@pytest.fixture
def folder(micro_folder, tmp_path):
    return shutil.copytree(micro_folder, tmp_path / "model")


def changed(folder, **values):
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def test_a_whole_one_passes_and_what_is_no_folder_is_another_matter(folder, tmp_path):
    require_model_folder(folder)
    require_model_folder(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "values",
    [{"num_hidden_layers": 10**6}, {"num_hidden_layers": 1999}, {"hidden_size": 10**9}, {"vocab_size": 10**12},
     {"intermediate_size": 10**8}, {"text_config": {"num_hidden_layers": 10**6}}],
    ids=str,
)  # fmt: skip
def test_a_config_that_asks_for_far_more_than_its_weights_is_refused_before_it_is_built(folder, values):
    changed(folder, **values)
    with pytest.raises(ModelError, match=r"asks for .* weights or more .*put its own config back"):
        load_model(str(folder))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "pytorch_model-00001-of-00002.bin.index.json"])
def test_pickles_are_refused(folder, name):
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(b"{}")
    with pytest.raises(ModelError, match=r"is a pickle|are a pickle"):
        load_model(str(folder))


@pytest.mark.parametrize(
    ("named", "said"),
    [("pytorch_model.bin", "no safetensors file"), ("../x.safetensors", "no safetensors file"), (3, "no safetensors"),
     ("gone.safetensors", "is not there")],
)  # fmt: skip
def test_an_index_names_safetensors_beside_it_alone(folder, named, said):
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"model.norm.weight": named}}))
    with pytest.raises(ModelError, match=said):
        load_model(str(folder))


@pytest.mark.parametrize("content", ["[" * 100_000, "[]", "{", "\0"])
def test_a_config_that_is_none(folder, content):
    (folder / "config.json").write_text(content)
    with pytest.raises(ModelError, match=r"no readable config\.json"):
        load_model(str(folder))


def test_a_template_that_does_not_end_is_refused(tokenizer, monkeypatch):
    monkeypatch.setattr(templates, "SECONDS", 0.3)
    loops = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    monkeypatch.setattr(tokenizer, "chat_template", loops)
    with pytest.raises(EndlessTemplate, match="did not end"):
        prompt_ids(tokenizer, ExactLength(64), "text", 100)


def test_a_template_that_raises_does_so_to_its_caller(tokenizer):
    with pytest.raises(Exception, match="no such thing"):
        render(tokenizer, [{"role": "user", "content": "x"}], "{{ raise_exception('no such thing') }}")
