"""The reference pages of the estimators, made from their docstrings by reading the source: torch need not be there."""

import ast
import re
from pathlib import Path

SECTION = re.compile(r"(Args|Returns|Raises|Attributes|Typical mistakes):(.*)")


def markdown(docstring: str) -> str:
    """A docstring as Markdown: its sections become a bold word and a list, one entry to a line of the least indent."""
    lines, inside = [], False
    for line in docstring.splitlines():
        if found := SECTION.fullmatch(line):
            inside = True
            lines += ["", f"**{found[1]}**", ""] + ([f"- {found[2].strip()}"] if found[2].strip() else [])
        elif inside and line.startswith("    "):
            entry = not line[4:].startswith(" ")
            lines.append(f"- {line.strip()}" if entry else f"  {line.strip()}")
        else:
            inside = inside and not line.strip()
            lines.append(line)
    return re.sub(r"``([^`]+)``", r"`\1`", "\n".join(lines)).replace("(*", "(\\*")


def page(source: str, name: str) -> str:
    """The page of one module: its own docstring, then each public function and class in the order of the source."""
    tree = ast.parse(source)
    parts = [f"# {name}", markdown(ast.get_docstring(tree) or "")]
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            parts += described(node, node.name, "##")
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            parts += [f"## {node.name}", markdown(ast.get_docstring(node) or "")]
            for method in node.body:
                public = isinstance(method, ast.FunctionDef) and ast.get_docstring(method)
                if public and (method.name == "__init__" or not method.name.startswith("_")):
                    parts += described(method, f"{node.name}.{method.name}", "###")
    return "\n\n".join(parts) + "\n"


def described(node: ast.FunctionDef, name: str, heading: str) -> list[str]:
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    signature = f"{node.name}({ast.unparse(node.args)}){returns}"
    if len(signature) > 88:
        arguments = ast.unparse(node.args).replace(", ", ",\n    ")
        signature = f"{node.name}(\n    {arguments},\n){returns}"
    return [f"{heading} {name}", f"```python\n{signature}\n```", markdown(ast.get_docstring(node) or "")]


def write_api(package: Path, folder: Path) -> None:
    """One page a module with public names, into `folder`; pages of modules that are gone go too."""
    folder.mkdir(exist_ok=True)
    modules = {path.stem: path for path in package.glob("*.py") if path.stem not in ("__init__", "checks")}
    for stale in {path.stem for path in folder.glob("*.md")} - modules.keys():
        (folder / f"{stale}.md").unlink()
    for name, path in modules.items():
        text = page(path.read_text(encoding="utf-8"), name)
        copy = folder / f"{name}.md"
        if not copy.exists() or copy.read_text(encoding="utf-8") != text:
            copy.write_text(text, encoding="utf-8")
