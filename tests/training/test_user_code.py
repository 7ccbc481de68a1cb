import pytest

from policy_gradients.training.user_code import load_object, portable


def test_from_a_path_a_module_and_with_neighbours(tmp_path, monkeypatch):
    (tmp_path / "helper.py").write_text("VALUE = 3\n")
    (tmp_path / "rw.py").write_text("from helper import VALUE\ndef f(c): return [VALUE for _ in c]\n")
    monkeypatch.chdir(tmp_path)
    for spec in ("rw.py:f", "./rw.py:f", f"{tmp_path}/rw.py:f", "rw:f"):
        assert load_object(spec, "reward function")([1, 2]) == [3, 3], spec
    assert portable("./rw.py:f") == f"{tmp_path}/rw.py:f"


@pytest.mark.parametrize(
    ("content", "spec", "message"),
    [
        ("def f(:\n", "rw.py:f", r"SyntaxError.*line 1"),
        ("x = 1\ny = z\n", "rw.py:f", r"NameError.*line 2"),
        ("import sys\nsys.exit(0)\n", "rw.py:f", r"sys.exit\(0\), line 2"),
        ("x = 1\n", "rw.py:f", "defines no 'f'; it has x"),
        ("x = '\0'\n", "rw.py:f", "cannot be imported"),
        (None, "rw.py:f", "is no file"),
        ("x = 1\n", "rw.py", "write it as FILE.py:NAME"),
        ("x = 1\n", "./rw:f", "cannot be imported"),
        ("x = 1\n", ":f", "write it as"),
    ],
)
def test_bad_code_is_one_line(tmp_path, monkeypatch, content, spec, message):
    monkeypatch.chdir(tmp_path)
    if content is not None:
        (tmp_path / "rw.py").write_text(content)
    with pytest.raises(ValueError, match=message) as error:
        load_object(spec, "reward function")
    assert "\n" not in str(error.value)
