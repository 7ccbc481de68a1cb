"""The command of notebook 08: ablate."""

import argparse
import sys
from pathlib import Path
from typing import Any


def add_ablate_parser(commands: Any) -> None:
    """ablate; help is instant, so the shipped studies are named without reading them."""
    shipped = sorted(path.stem for path in (Path(__file__).parent / "studies" / "data").glob("*.yaml"))
    ablate = commands.add_parser(
        "ablate", help="run a study: arms that differ in one choice, the same seeds, a rule that was written before"
    )
    ablate.add_argument("study", help=f"one of {', '.join(shipped)}, or a YAML file of the same form")
    ablate.add_argument("--seeds", help="such as 0-9 or 0,2,5-7 [the study's]")
    ablate.add_argument("--jobs", type=int, default=1, help="runs at the same time, one thread each [1]")
    ablate.add_argument("--resume", action="store_true", help="go on with what --output-dir holds")
    ablate.add_argument("--output-dir", type=Path, help="where runs are kept, a few kB each [runs/ablations/STUDY]")
    ablate.add_argument("--table-only", action="store_true", help="run nothing: what the runs there say so far")
    ablate.set_defaults(run=_ablate)


def _ablate(parsed: argparse.Namespace) -> int:
    import contextlib
    import typing

    from tqdm import tqdm

    from policy_gradients.course.display import Table
    from policy_gradients.course.figures import save
    from policy_gradients.course.study_figures import study_figure
    from policy_gradients.language.files import require_place
    from policy_gradients.studies.analysis import VERDICT_HEADER, claims, compare, summaries, verdict_rows
    from policy_gradients.studies.runs import read_runs, run_study
    from policy_gradients.studies.study import Metric, load_study, parse_seeds

    study = load_study(parsed.study)
    folder = parsed.output_dir or Path("runs", "ablations", study.name)
    if not parsed.table_only:
        require_place(folder)
        print(f"{study.question.strip()}\n{study.decision.strip()}", file=sys.stderr)
        with contextlib.ExitStack() as shown:
            bars: list[tqdm] = []  # none before there is something to do

            def on_run(done: int, of: int) -> None:
                if not bars:
                    bars.append(shown.enter_context(tqdm(total=of, initial=done, unit="run", dynamic_ncols=True)))
                bars[0].n = done
                bars[0].refresh()

            run_study(study, folder, parse_seeds(parsed.seeds) if parsed.seeds else None, parsed.jobs, parsed.resume,
                      on_run)  # fmt: skip
    runs = read_runs(study, folder)
    if not any(runs.values()):
        raise ValueError(f"{folder} holds no run of the study {study.name} yet")
    metrics = typing.get_args(Metric)
    print(Table(["arm", "seeds", *(name.replace("_", " ") for name in metrics)], summaries(study, runs, metrics)))
    try:
        found = compare(study, runs)
    except ValueError as error:  # the first runs of a study are worth a table
        print(error, file=sys.stderr)
        return 0
    print(f"\n{Table(VERDICT_HEADER, verdict_rows(found))}\n")
    print(*(each.sentence for each in claims(study, found)), sep="\n")
    print(f"figure: {save(study_figure(study, runs, found), folder / f'{study.name}.png')}", file=sys.stderr)
    return 0
