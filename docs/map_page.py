"""The index's map: one row a notebook, with its question, its minutes, a picture out of it and what comes of it.

Question and minutes are read off the notebooks (tools/way.py); the picture is one of those that the notebook stores.
"""

import base64
import html
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))

import way  # noqa: E402

# notebook -> (how the alt text of its picture begins, what you will have built)
BUILT = {
    "01_reinforce_on_a_bandit": (
        "Stairs, and a slope",
        "REINFORCE, as a gradient, a loop and a loss, held against the exact gradient",
    ),
    "02_baselines": (
        "Bars of the exact variance",
        "seven baselines side by side, and an actor–critic with GAE on a cart pole",
    ),
    "03_credit_and_long_horizons": (
        "The sentence “It was",
        "credit for single tokens, GPOMDP, and weights for old samples with their limits",
    ),
    "04_natural_gradient": (
        "A Gaussian policy with mean 0 and σ 0.1",
        "a natural gradient by solving, by regression and by conjugate gradients, on two robots",
    ),
    "05_grpo_from_scratch": (
        "How hard GRPO pulls",
        "GRPO on a real language model, in five steps of a few lines; each line's bias and noise",
    ),
    "break_it": (
        "A healthy run and a broken one over 14 steps",
        "an eye for ten classic bugs, and the alarm that hears each",
    ),
    "06_grpo_on_a_t4": (
        "Training curves over",
        "the main job: a rule learnt from yes and no, with a curriculum, and resumed after a cut",
    ),
    "07_evaluation": (
        "Pass rate against KL",
        "an evaluation that tells learning from cheating: intervals, collapse, drift, two frauds",
    ),
    "08_ablations": (
        "Left: the strict pass rate of each arm",
        "a verdict on seven arms: paired runs, exact p-values, a correction for all that was asked",
    ),
    "09_open_questions": (
        "Left: mean pass rate against mean KL",
        "six open questions in small: a KL weight, shared baselines, retrieval, a learnt reward, a teacher, entropy",
    ),
}
WIDTH = 230  # CSS pixels


def picture(notebook: Path, begins: str) -> tuple[bytes, str] | None:
    """The first stored picture whose alt text begins like that, else the last one; with its alt text."""
    outputs = [o for cell in nbformat.read(notebook, as_version=4).cells for o in cell.get("outputs", [])]
    found = [(o.data["image/png"], o.metadata["image/png"]["alt"]) for o in outputs if "image/png" in o.get("data", {})]
    if not found:
        return None
    data, alt = next((pair for pair in found if pair[1].startswith(begins)), found[-1])
    return base64.b64decode(data), alt


def write_map(notebooks: Path, folder: Path) -> None:
    """`folder/map.md`, and the pictures beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    rooms = way.rooms()
    rows = []
    for room in rooms:
        begins, built = BUILT.get(room.name, ("", ""))
        shown = picture(notebooks / f"{room.name}.ipynb", begins)
        image = ""
        if shown:
            (folder / f"{room.name}.png").write_bytes(shown[0])
            alt = html.escape(shown[1].split(". ")[0], quote=True)
            image = f'<img src="_map/{room.name}.png" width="{WIDTH}" alt="{alt}">'
        minutes = "–" if room.reading is None else f"{room.reading} min to read, {room.practice} min of exercises"
        link = f'<a href="notebooks/{room.name}.html">{room.number} · {html.escape(room.question)}</a>'
        rows.append(
            f"<tr><td>{link}<br><small>{minutes}</small></td><td>{image}</td><td>{html.escape(built)}</td></tr>"
        )
    head = "<thead><tr><th>the question</th><th>a picture out of it</th><th>what you will have built</th></tr></thead>"
    table = "\n".join([f'<table class="way">{head}<tbody>', *rows, "</tbody></table>", "", way.total(rooms), ""])
    (folder / "map.md").write_text(table, encoding="utf-8")
