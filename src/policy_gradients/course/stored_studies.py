"""What a notebook shows of a study whose runs are kept: its question, its arms, its differences."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from policy_gradients.course.display import Table
from policy_gradients.course.study_figures import study_figure
from policy_gradients.studies.analysis import (
    VERDICT_HEADER,
    Comparison,
    Runs,
    claims,
    compare,
    summaries,
    verdict_rows,
)
from policy_gradients.studies.runs import read_runs
from policy_gradients.studies.study import Metric, Study, load_study


@dataclass(frozen=True)
class StoredStudy:
    """A declaration, the runs of it that are there, and what they say; empty where no run is kept."""

    study: Study
    runs: Runs
    comparisons: Sequence[Comparison]

    @property
    def asked(self) -> str:
        """The question and the rule, as they were written before the runs."""
        return f"{self.study.question.strip()}\n{self.study.decision.strip()}"

    def arms(self, *metrics: Metric) -> Table:
        """Each arm that has runs: means over seeds with their 95 % intervals."""
        return Table(
            ["arm", "seeds", *(name.replace("_", " ") for name in metrics)], summaries(self.study, self.runs, metrics)
        )

    def verdicts(self) -> Table:
        """Each hypothesis."""
        return Table(VERDICT_HEADER, verdict_rows(self.comparisons))

    def figure(self) -> Figure | None:
        """Curves and differences; None without runs."""
        return study_figure(self.study, self.runs, self.comparisons) if self.comparisons else None

    def arms_that_win(self, against: str, metric: Metric = "mean_strict_rate") -> str:
        """The arms that are better than another one, in words, or "none of them"."""
        won = [
            each.hypothesis.arm
            for each in self.comparisons
            if (each.hypothesis.against, each.hypothesis.metric) == (against, metric) and each.verdict == "holds"
        ]
        return " and ".join(won) or "none of them"

    def sentences(self) -> str:
        """What the rule says of each arm that a hypothesis speaks for."""
        return " ".join(claim.sentence for claim in claims(self.study, self.comparisons)) if self.comparisons else ""


def stored_study(name: str, results: Path = Path("..", "results")) -> StoredStudy:
    """A shipped study with the runs in `results`, which `pip install` does not bring.

    Raises:
        ValueError: as `load_study` and `read_runs`.
    """
    study = load_study(name)
    runs = read_runs(study, results / "ablations" / name)
    try:
        return StoredStudy(study, runs, compare(study, runs))
    except ValueError:  # no two arms with two seeds in common
        return StoredStudy(study, runs, [])
