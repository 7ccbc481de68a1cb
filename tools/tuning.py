"""The same search around the settings of two methods: learning rate and price of KL, each halved and doubled.

python tools/tuning.py --output-dir runs/results/tuning

One seed; evaluated on the held-out prompts that settings are chosen by, not on those that results are reported of. Runs
that were cut go on, and those that have their report are left alone.
"""

import argparse
import sys
from pathlib import Path

from policy_gradients.cli import main as run
from policy_gradients.training.presets import PRESETS

METHODS = ("tiny", "tiny-grpo")
FACTORS = {"as-shipped": (1, 1), "rate-half": (0.5, 1), "rate-double": (2, 1), "kl-half": (1, 0.5), "kl-double": (1, 2)}
EVALUATION = ["--num-prompts", "100", "--seed", "1", "--reference-samples", "2000"]


def options(method: str, arm: str) -> list[str]:
    """What `train` is given besides the preset."""
    rate, price = FACTORS[arm]
    shipped = PRESETS[method]
    return [
        *("--learning-rate", f"{rate * shipped['learning_rate']:g}"),
        *("--kl-weight", f"{price * shipped['kl_weight']:g}"),
        *("--kl-success-weight", f"{price * shipped['kl_success_weight']:g}"),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output-dir", type=Path, required=True)
    parsed = parser.parse_args()
    for method in METHODS:
        for arm in FACTORS:
            folder = parsed.output_dir / method / arm
            if (folder / "report.json").exists():
                continue
            command = ["train", "--preset", method, "--output-dir", str(folder), "--seed", "0", *options(method, arm)]
            resumed = ["--resume"] if folder.exists() else []
            if code := run([*command, *resumed]):
                return code
            if code := run(["evaluate", str(folder), *EVALUATION, "--json", str(folder / "report.json")]):
                return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
