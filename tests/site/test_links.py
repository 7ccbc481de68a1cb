"""`tools/links.py`: what it must not let pass."""

import importlib.util
from pathlib import Path

import pytest

spec = importlib.util.spec_from_file_location("links", Path(__file__).parents[2] / "tools" / "links.py")
links = importlib.util.module_from_spec(spec)
spec.loader.exec_module(links)

GOOD = "<a href='#here'>x</a><a href='sub/'>y</a><a href='https://example.org/gone'>z</a><h1 id='here'></h1>"


@pytest.fixture
def site(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "index.html").write_text("<a href='../index.html#here'>up</a>", encoding="utf-8")
    (tmp_path / "index.html").write_text(GOOD, encoding="utf-8")
    return tmp_path


def test_links_within_the_site_and_to_elsewhere_pass(site):
    assert not list(links.faults(site))


@pytest.mark.parametrize(
    ("added", "said"),
    [
        ("<a href='gone.html'>x</a>", "gone.html leads nowhere"),
        ("<a href='sub/index.html#gone'>x</a>", "sub/index.html#gone has no such anchor"),
        ("<a href='#gone'>x</a>", "#gone has no such anchor"),
        ("<img src='sub/index.html'>", "has no alt text"),
    ],
)
def test_what_is_broken_is_named(site, added, said):
    (site / "index.html").write_text(GOOD + added, encoding="utf-8")
    [fault] = links.faults(site)
    assert fault.startswith("index.html: ") and said in fault


def test_an_empty_site_is_a_fault(tmp_path):
    assert list(links.faults(tmp_path))
