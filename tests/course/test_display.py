"""What reaches the page: pictures with their alt text, tables that escape what a model wrote and read well as text."""

import base64
import io
from html.parser import HTMLParser

import pytest
from matplotlib.figure import Figure
from PIL import Image

from policy_gradients.course import display as page
from policy_gradients.course.display import Table, gallery, png_bundle, readable, show

ALT = 'A figure of "nothing", where a < b & c > 0.'


def elements(page: str) -> list[tuple[str, dict]]:
    parser, found = HTMLParser(), []
    parser.handle_starttag = lambda tag, attributes: found.append((tag, dict(attributes)))
    parser.feed(page)
    return found


def figure_with_alt() -> Figure:
    figure = Figure(figsize=(3, 2))
    figure.set_label(ALT)
    return figure


def test_a_picture_carries_its_alt_text_four_times_and_keeps_its_size():
    for dpi in (40, 120):
        data, metadata = png_bundle(figure_with_alt(), dpi)
        assert metadata["image/png"] == {"width": 240, "height": 160, "alt": ALT}
        assert data["text/plain"] == ALT
        [(tag, attributes), (style, _)] = elements(data["text/html"])
        assert style == "style", "for dark pages"
        assert tag == "img" and attributes.pop("class") and attributes == {
            "src": f"data:image/png;base64,{data['image/png']}", "width": "240", "height": "160", "alt": ALT,
        }  # fmt: skip
        with Image.open(io.BytesIO(base64.b64decode(data["image/png"]))) as image:
            assert image.size == (3 * dpi, 2 * dpi)
            assert image.info["Description"] == ALT


def test_a_notebook_shows_the_picture_and_a_script_prints_the_alt_text(monkeypatch, capsys):
    show(figure_with_alt())
    assert capsys.readouterr().out == f"{ALT}\n"
    shown = []
    monkeypatch.setattr(page, "in_notebook", lambda: True)
    monkeypatch.setattr(page, "display", lambda data, **options: shown.append((data, options)))
    show(figure_with_alt())
    [(data, options)] = shown
    assert set(data) == {"text/html", "image/png", "text/plain"} and options["raw"] and options["metadata"]


TABLE = Table(["name", "value", "ok"], [["a<b>", 0.123456, True], ["c", 1200, False], ["d", 3.0, None]])


def test_a_table_as_text_is_aligned():
    assert repr(TABLE).splitlines() == ["name  value  ok", "a<b>  0.123  ✓", "c      1200  ✗", "d         3  –"]


def test_a_table_as_html_escapes_its_cells():
    shown = TABLE._repr_html_()
    assert "a&lt;b&gt;" in shown and "<b>" not in shown
    assert shown.count("<tr>") == 4 and '<td align="right" style="text-align:right">0.123</td>' in shown
    assert '<th align="left" style="text-align:left">name</th>' in shown, "a header stands over its column"


def test_a_table_without_rows_says_so_and_crooked_rows_are_refused():
    assert repr(Table(["a"], [])) == "(no rows)" and "(no rows)" in Table(["a"], [])._repr_html_()
    with pytest.raises(ValueError, match="a row has 2 cells under a header of 1"):
        Table(["a"], [[1, 2]])


def test_a_gallery_marks_every_check_and_shows_spaces_at_the_ends():
    checks = {"finished": True, "length=3": False}
    table = gallery([{"text": 'a "b"\n ', "characters": 7, "passed": False, "checks": checks}])
    assert table.header == ["passes", "finished", "length=3", "characters", "completion"]
    assert table.rows == [[False, True, False, 7, r'"a \"b\"\n "']]
    assert repr(gallery([])) == "(no rows)"


def test_thousands_are_written_out():
    text = repr(Table(["MiB"], [[1049.7], [-2345.0], [999.4], [2.5e9]]))
    assert [line.strip() for line in text.splitlines()] == ["MiB", "1050", "-2340", "999", "2.5e+09"]


def test_shares_are_written_as_per_cent_by_their_names():
    assert [readable(name, 0.0834) for name in ("pass_rate", "zero_variance_share")] == ["8.3%", "8.3%"]
    assert [readable(name, 0.0834) for name in ("kl", "learning_rate", "train_reward")] == [0.0834] * 3
