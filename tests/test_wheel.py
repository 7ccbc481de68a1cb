"""What ships: the text and the model, within their size, with their licence notes."""

from importlib import resources

DATA = resources.files("policy_gradients.language") / "data"


def test_the_data_are_there_with_their_licence():
    names = {entry.name for entry in DATA.iterdir()}
    assert names == {"LICENSE-text.md", "tiny", "wikipedia_leads_heldout.jsonl.gz", "wikipedia_leads_train.jsonl.gz"}
    assert "CC BY-SA 4.0" in (DATA / "tiny" / "README.md").read_text(encoding="utf-8")


def test_the_model_folder_is_at_most_eight_megabytes():
    files = [entry for entry in (DATA / "tiny").iterdir() if entry.is_file()]
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md", "pretrain.json"} <= {
        f.name for f in files
    }
    assert sum(len(entry.read_bytes()) for entry in files) <= 8_000_000
