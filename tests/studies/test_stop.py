"""A study that is stopped ends soon, begins no further run, and goes on with what it has."""

import json
import signal
import subprocess
import sys
import time

import pytest

PATIENCE = 120  # seconds: a busy machine is no failure
STEPS = 400  # far more than are done before the stop


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no signals to end by")
def test_a_stopped_study_begins_no_further_run(micro_folder, tmp_path):
    settings = {"model": str(micro_folder), "rule": "digits%3=0", "num_prompts": 2, "num_generations": 2,
                "max_new_tokens": 4, "max_prompt_tokens": 128, "save_every": 1000, "precision": "no"}  # fmt: skip

    def study(steps: int) -> str:
        declared = {
            "question": "?", "decision": ".", "preset": "tiny-sparse", "settings": {**settings, "max_steps": steps},
            "arms": {"a": {}, "b": {"learning_rate": 1e-4}, "c": {"learning_rate": 1e-5}}, "seeds": 0, "num_prompts": 4,
            "hypotheses": [{"arm": "a", "against": "b", "metric": "kl", "smallest": 1}], "reference_samples": 4,
            "perplexity_texts": 1,
        }  # fmt: skip
        file = tmp_path / "micro.yaml"
        file.write_text(json.dumps(declared), encoding="utf-8")  # JSON is YAML
        return str(file)

    folder = tmp_path / "runs"
    line = [sys.executable, "-m", "policy_gradients", "ablate", study(STEPS), "--output-dir", str(folder)]
    with (tmp_path / "said.txt").open("w") as said:
        process = subprocess.Popen(line, stdout=said, stderr=said)
    log = folder / "a" / "seed-0" / "training" / "metrics.jsonl"
    end = time.monotonic() + PATIENCE
    while not (log.exists() and log.stat().st_size) and time.monotonic() < end:
        assert process.poll() is None, (tmp_path / "said.txt").read_text()
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    try:
        assert process.wait(PATIENCE) == 128 + signal.SIGTERM, (tmp_path / "said.txt").read_text()
    finally:
        process.kill()
    steps = len(log.read_text(encoding="utf-8").splitlines())
    assert 0 < steps < STEPS
    assert [path.name for path in log.parent.glob("checkpoint-*")] == [f"checkpoint-{steps:06d}"]
    assert not list(folder.glob("[bc]/*/*")), "another run has begun"
