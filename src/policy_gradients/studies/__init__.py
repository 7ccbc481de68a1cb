"""Studies: arms that differ in one choice, run with the same seeds, and judged by a rule that was written before."""
