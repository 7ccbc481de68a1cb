"""Build, check and run the notebooks: notebooks/scripts/X.py is the source, and notebooks/X.ipynb is made from it.

    python tools/nb.py build [X ...]    write the notebooks anew; a cell whose source did not change keeps its output
    python tools/nb.py check [X ...]    fail unless every notebook is, byte for byte, what `build` and `run` leave
    python tools/nb.py run   [X ...]    build, execute from top to bottom, write
    python tools/nb.py prove [X ...]    execute each twice, writing nothing: as it is, every exercise has to turn out
                                        "not attempted"; with the answers filled in, "correct"
    python tools/nb.py exercise X       print the cells of an exercise, to paste into a script
    python tools/nb.py owner NAME       the repository's owner on GitHub, in every badge and set-up cell ("" for none)

The owner stands in pyproject.toml. The scripts say OWNER; what is built from them has the name.

Changing a cell does not make the outputs of later cells stale here, though it may in truth: release with `run`.
"""

import argparse
import copy
import os
import re
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

sys.path.insert(0, str(Path(__file__).parent))

import way

WIDGET = "application/vnd.jupyter.widget-view+json"
SETUP = "# @title Setup"
HEADER = "format_name: percent"  # without it jupytext guesses the format, and may take the pair for no pair
# What an output would tell about the machine it was made on: homes, installed files, temporary cell files.
MACHINE = re.compile(r"/(home|Users|root)/|[A-Z]:\\+Users\\|(site|dist)-packages|ipykernel_\d+")
CHECKOUT = str(Path(__file__).resolve().parents[1])


def built(script, notebook):
    """The notebook that `script` means, with those outputs of the old `notebook` whose cells are still the same."""
    nb, owner = jupytext.reads(script.read_text(encoding="utf-8"), fmt="py:percent"), way.owner()
    kept = defaultdict(list)  # source -> cells, in order: a source may occur twice
    if notebook.exists():
        for cell in nbformat.read(notebook, as_version=4).cells:
            kept[cell.cell_type, known_by(cell)].append(cell)
    for cell in nb.cells:
        cell.source = way.addressed(cell.source, owner)
        same = kept[cell.cell_type, known_by(cell)]
        if cell.cell_type == "code" and same:
            old = same.pop(0)
            cell.outputs, cell.execution_count = old.outputs, old.execution_count
    return normalised(nb)


def known_by(cell):
    """What a cell is recognised by: its source; the set-up cell by its title, whoever owns the repository."""
    title = cell.source.partition("\n")[0]
    return title if title.startswith(SETUP) else cell.source


def normalised(nb):
    """Only what depends on the script and on what it printed: no random ids, times, versions or widget state."""
    nb.nbformat, nb.nbformat_minor = 4, 5
    nb.metadata = {key: nb.metadata[key] for key in ("accelerator", "colab") if key in nb.metadata}
    nb.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    nb.metadata["language_info"] = {"name": "python"}
    for number, cell in enumerate(nb.cells):
        cell.id = f"c{number:02}"
        for key in ("execution", "lines_to_next_cell"):
            cell.metadata.pop(key, None)
        if cell.cell_type == "code":  # a widget without its state is an error message on GitHub
            for output in cell.outputs:
                if "text/html" in output.get("data", {}):  # what stands in its place
                    output.data.pop(WIDGET, None)
            cell.outputs = [output for output in cell.outputs if WIDGET not in output.get("data", {})]
            for data in (output.get("data", {}) for output in cell.outputs):
                if "text/markdown" in data:  # likewise: GitHub and the site colour a diff by themselves
                    data.pop("text/html", None)
                if "image/png" in data:  # its twin in HTML is for a page that runs; on GitHub it would be no picture
                    data.pop("text/html", None)
    return nb


def text(nb):
    return nbformat.writes(nb) + "\n"


def faults(script, notebook):
    """What is wrong with a pair, in words; nothing if all is well."""
    if HEADER not in script.read_text(encoding="utf-8"):
        yield f"{script.name} has no jupytext header with `{HEADER}`"
    if not notebook.exists():
        yield "the notebook does not exist: build it"
        return
    if notebook.read_bytes() != text(built(script, notebook)).encode():
        yield "the notebook is not what its script builds (edited by hand, or the script changed): build it"
    nb = nbformat.read(notebook, as_version=4)
    if "widgets" in nb.metadata:
        yield "it holds metadata.widgets, which GitHub refuses to show"
    for cell in nb.cells:
        if cell.cell_type != "code" or not cell.source.strip():
            continue
        tags = cell.metadata.get("tags", [])
        if cell.execution_count is None and "skip-execution" not in tags:
            yield f"cell {cell.id} was not executed"
        for output in cell.outputs:
            if output.output_type == "error" and "raises-exception" not in tags:
                yield f"cell {cell.id} ends in {output.ename}: {output.evalue}"
            data = output.get("data") or {"text": output.get("text", output.get("traceback"))}
            shown = "\n".join(str(value) for mime, value in data.items() if not mime.startswith("image/"))
            if found := MACHINE.search(shown) or re.search(re.escape(CHECKOUT) + r"\b", shown):
                yield f"cell {cell.id} shows a path of the machine it ran on: …{found.group()}…"


def executed(nb, notebook, timeout, note=""):
    """Execute in the notebook's own folder, as Jupyter does, for a learner who has solved nothing yet."""
    client = NotebookClient(
        nb,
        timeout=timeout,
        kernel_name="python3",
        resources={"metadata": {"path": str(notebook.parent)}},
        coalesce_streams=True,  # one output a stream; of a progress bar, its last state
        record_timing=False,
    )
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["POLICY_GRADIENTS_PROGRESS"] = str(Path(folder, "progress.json"))
        client.execute()
    print(f"{notebook.stem}{note}: {time.perf_counter() - start:.1f} s", flush=True)
    return nb


def run(script, notebook, timeout):
    """Build and execute; the old notebook stays if a cell fails."""
    write(notebook, normalised(executed(built(script, notebook), notebook, timeout)))


def solved(nb, exercises):
    """A copy in which every blank cell of the given exercises holds its answer."""
    nb, answers = copy.deepcopy(nb), {entry.blank: entry.solved for entry in exercises}
    for cell in nb.cells:
        if cell.cell_type == "code":
            cell.source = answers.get(cell.source.strip(), cell.source)
    return nb


def outcomes(nb):
    """What the checks of an executed notebook said: exercise -> outcome, in order."""
    outputs = [output for cell in nb.cells if cell.cell_type == "code" for output in cell.outputs]
    facts = [output.get("metadata", {}).get("policy_gradients", {}) for output in outputs]
    return {fact["exercise"]: fact["outcome"] for fact in facts if "exercise" in fact}


def proven(script, notebook, timeout):
    """Execute blank and solved; yield, in words, what an exercise says that it should not."""
    from policy_gradients.course.exercises.declare import exercises_of

    exercises = exercises_of(notebook.stem)
    nb = built(script, notebook)
    runs = [("not attempted", nb, "blank"), ("correct", solved(nb, exercises), "solved")]
    for expected, variant, name in runs[: 2 if exercises else 1]:
        said = outcomes(executed(variant, notebook, timeout, f", {name}"))
        for entry in exercises:
            if (outcome := said.get(entry.name, "never checked")) != expected:
                yield f"run {name}, the exercise {entry.name} is {outcome}"
        print(f"  {sum(outcome == expected for outcome in said.values())} of {len(exercises)} {expected}", flush=True)


def exercise_cells(name):
    """The cells of an exercise, as they stand in a script."""
    from policy_gradients.course.exercises.declare import find

    entry = find(name)
    check = f"{name} = check({name})\n# hint({name})  # without the #: a hint, and the next one each time\n"
    check += f"# solution({name})"
    return f"# %% [markdown]\n# {entry.heading} …\n\n\n# %%\n{entry.blank}\n\n\n# %%\n{check}\n"


def write(notebook, nb):
    notebook.write_text(text(nb), encoding="utf-8", newline="\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("build", "check", "run", "prove", "exercise", "owner"))
    parser.add_argument("names", nargs="*", help="notebooks, as a name or a path of either file (default: all)")
    parser.add_argument("--folder", type=Path, default=Path(CHECKOUT, "notebooks"), help="default: %(default)s")
    parser.add_argument("--timeout", type=int, default=1800, help="seconds that one cell may take (default: 1800)")
    args = parser.parse_args()
    if args.action == "exercise":
        print(*map(exercise_cells, args.names), sep="\n")
        return False

    if args.action == "owner":
        if len(args.names) != 1:
            parser.error('give one name, as in `nb.py owner octocat`; "" takes it away')
        try:
            way.set_owner(args.names[0])
        except ValueError as error:
            parser.error(str(error))
        way.main()
        args.action, args.names = "build", []

    pairs = {script.stem: (script, args.folder / f"{script.stem}.ipynb") for script in args.folder.glob("scripts/*.py")}
    names = sorted({Path(name).stem for name in args.names} or pairs)
    if not names or not pairs.keys() >= set(names):  # nothing to check is no success
        parser.error(f"{args.folder / 'scripts'} has no {', '.join(set(names) - pairs.keys()) or 'scripts'}")

    problems = []
    for name in names:
        script, notebook = pairs[name]
        if args.action == "build":
            write(notebook, built(script, notebook))
        elif args.action == "check":
            problems += [f"{name}: {fault}" for fault in faults(script, notebook)]
        else:
            try:
                if args.action == "run":
                    run(script, notebook, args.timeout)
                else:
                    problems += [f"{name}: {fault}" for fault in proven(script, notebook, args.timeout)]
            except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
                problems.append(f"{name}: {error}")
    if args.action == "check" and not args.names:
        stray = sorted(path for path in args.folder.glob("*.ipynb") if path.stem not in pairs)
        problems += [f"{path.stem}: a notebook without a script" for path in stray]
    print(*problems or [f"{args.action}: {len(names)} notebooks, all well"], sep="\n")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
