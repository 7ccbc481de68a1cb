"""The same search for two methods: three learning rates each, a factor of two apart.

python tools/tuning.py --output-dir runs/results/tuning

One seed; evaluated on the held-out prompts that settings are chosen by, not on those that results are reported of. Runs
that were cut go on, and those that have their report are left alone.
"""

import argparse
import sys
from pathlib import Path

from policy_gradients.cli import main as run

RATES = {"tiny": ("2e-4", "4e-4", "8e-4"), "tiny-grpo": ("4e-4", "8e-4", "1.6e-3")}
EVALUATION = ["--num-prompts", "100", "--seed", "1", "--reference-samples", "2000"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output-dir", type=Path, required=True)
    parsed = parser.parse_args()
    for method, rates in RATES.items():
        for rate in rates:
            folder = parsed.output_dir / method / f"rate-{rate}"
            if (folder / "report.json").exists():
                continue
            train = ["train", "--preset", method, "--learning-rate", rate, "--output-dir", str(folder), "--seed", "0"]
            if code := run([*train, *(["--resume"] if folder.exists() else [])]):
                return code
            if code := run(["evaluate", str(folder), *EVALUATION, "--json", str(folder / "report.json")]):
                return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
