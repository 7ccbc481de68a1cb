"""The same search for two methods: the learning rate, the price of divergence, the entropy bonus, updates per batch.

python tools/tuning.py --output-dir runs/results/tuning [--method tiny]

One change at a time from each method's preset, one seed; evaluated on the held-out prompts that settings are chosen
by, not on those that results are reported of. Runs that were cut go on, and those that have their report are left
alone.
"""

import argparse
import sys
from pathlib import Path

from policy_gradients.cli import main as run

TARGET = ["--entropy-schedule", "target", "--entropy-target", "1.3", "--entropy-rate", "0.02"]
TRIALS = {
    "tiny": {
        "rate-4e-4": ["--learning-rate", "4e-4"],  # the preset
        "price-half": ["--kl-weight", "0.015", "--kl-success-weight", "0.015"],
        "price-double": ["--kl-weight", "0.06", "--kl-success-weight", "0.06"],
        "entropy-target": [*TARGET, "--entropy-weight", "0.006"],
        "updates-1": ["--updates-per-batch", "1"],
        "rate-8e-4": ["--learning-rate", "8e-4"],
        "rate-2e-4": ["--learning-rate", "2e-4"],
    },
    "tiny-grpo": {
        "rate-4e-4": ["--learning-rate", "4e-4"],  # the preset
        "price-half": ["--kl-weight", "0.04", "--kl-success-weight", "0.04"],
        "price-double": ["--kl-weight", "0.16", "--kl-success-weight", "0.16"],
        "entropy-none": ["--entropy-schedule", "constant", "--entropy-weight", "0"],
        "updates-2": ["--updates-per-batch", "2"],
        "rate-8e-4": ["--learning-rate", "8e-4"],
        "rate-1.6e-3": ["--learning-rate", "1.6e-3"],
    },
}
EVALUATION = ["--num-prompts", "100", "--seed", "1", "--reference-samples", "2000"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output-dir", type=Path, required=True)
    parser.add_argument("--method", choices=sorted(TRIALS), nargs="*", default=list(TRIALS))
    parsed = parser.parse_args()
    for method in parsed.method:
        for trial, changes in TRIALS[method].items():
            folder = parsed.output_dir / method / trial
            if (folder / "report.json").exists():
                continue
            train = ["train", "--preset", method, *changes, "--output-dir", str(folder), "--seed", "0"]
            if code := run([*train, *(["--resume"] if folder.exists() else [])]):
                return code
            if code := run(["evaluate", str(folder), *EVALUATION, "--json", str(folder / "report.json")]):
                return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
