"""Check the links of a built site that lead to the site itself: the file is there, and so is the anchor in it.

    python tools/links.py build/site

Links to elsewhere are counted and left alone: whether they work depends on the day, and on a network.
"""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """The ids of one page, what it links to, and pictures that have no alt text."""

    def __init__(self, path: Path):
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.mute: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.ids.update(filter(None, (given.get("id"), given.get("name"))))
        self.links += [link for key in ("href", "src") if (link := given.get(key))]
        if tag == "img" and not given.get("alt"):
            self.mute.append(given.get("src", "")[:60])


def faults(root: Path):
    """What is wrong, in words."""
    pages = {path.resolve(): Page(path) for path in sorted(root.rglob("*.html")) if "_static" not in path.parts}
    if not pages:
        yield f"{root} holds no pages"
    for path, page in pages.items():
        name = path.relative_to(root.resolve())
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            if not target.exists():
                yield f"{name}: {link} leads nowhere"
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].ids:
                yield f"{name}: {link} has no such anchor"
        yield from (f"{name}: the picture {source}… has no alt text" for source in page.mute)
    inside = sum(not urlsplit(link).netloc for page in pages.values() for link in page.links)
    print(f"links: {len(pages)} pages, {inside} links within the site, checked")


def main() -> int:
    found = list(faults(Path(sys.argv[1])))
    print(*found, sep="\n", end="\n" if found else "")
    return min(1, len(found))


if __name__ == "__main__":
    sys.exit(main())
