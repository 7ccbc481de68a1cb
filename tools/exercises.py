"""Count the exercises, notebook by notebook, and time their checks: a check should stay under a second.

python tools/exercises.py
"""

import time

from policy_gradients.course.display import Table
from policy_gradients.course.exercises.declare import Exercise, all_exercises
from policy_gradients.course.exercises.grade import grade


def seconds(entry: Exercise) -> float:
    """The longest check: of the right answer or of any planted mistake."""
    longest = 0.0
    for function in (entry.answer, *entry.mistakes.values()):
        start = time.perf_counter()
        grade(entry, function)
        longest = max(longest, time.perf_counter() - start)
    return longest


def main() -> None:
    notebooks: dict[str, list[Exercise]] = {}
    for entry in all_exercises():
        notebooks.setdefault(entry.notebook, []).append(entry)
    rows = []
    for name, entries in notebooks.items():
        slowest = max((seconds(entry), entry.name) for entry in entries)
        minutes, mistakes = sum(e.minutes for e in entries), sum(len(e.mistakes) for e in entries)
        rows.append([name, len(entries), minutes, mistakes, sum(len(e.hints) for e in entries), *slowest])
    rows.append(["all", *(sum(row[i] for row in rows) for i in range(1, 5)), *max((row[5], row[6]) for row in rows)])
    header = ["notebook", "exercises", "minutes", "planted mistakes", "hints", "longest check, s", "which"]
    print(Table(header, rows))


if __name__ == "__main__":
    main()
