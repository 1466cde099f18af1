"""Print the tails of the code: the largest files, the longest functions, the most parameters. A mirror, not a gate."""

from __future__ import annotations

import ast
from pathlib import Path

SHOWN = 5


def main() -> None:
    """Read every source file and print three short lists."""
    files: list[tuple[int, str]] = []
    lengths: list[tuple[int, str]] = []
    parameters: list[tuple[int, str]] = []
    for path in sorted([*Path("gateway").rglob("*.py"), *Path("shadow").rglob("*.py")]):
        text = path.read_text(encoding="utf-8")
        files.append((text.count("\n"), str(path)))
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                where = f"{path}:{node.lineno} {node.name}"
                lengths.append(((node.end_lineno or node.lineno) - node.lineno + 1, where))
                parameters.append((len(node.args.args) + len(node.args.kwonlyargs), where))
    for title, rows in (("largest files", files), ("longest functions", lengths), ("most parameters", parameters)):
        print(title)
        for count, where in sorted(rows, reverse=True)[:SHOWN]:
            print(f"  {count:5}  {where}")


if __name__ == "__main__":
    main()
