"""Refuses files and functions that have grown too long. Raising a ceiling is a commit that says why."""

import ast
import sys
from pathlib import Path

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
FOLDERS = ("llmatic", "tests", "scripts")


def too_long(path: Path) -> list[str]:
    source = path.read_text(encoding="utf-8")
    found = []
    n_lines = source.count("\n")
    if n_lines > MAX_FILE_LINES:
        found.append(f"{path}: {n_lines} lines, at most {MAX_FILE_LINES}")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > MAX_FUNCTION_LINES:
                found.append(
                    f"{path}:{node.lineno}: {node.name}: {length} lines, at most {MAX_FUNCTION_LINES}"
                )
    return found


def main() -> int:
    root = Path(__file__).resolve().parent.parent
    paths = [path for folder in FOLDERS for path in sorted((root / folder).rglob("*.py"))]
    found = [line for path in paths for line in too_long(path)]
    print("\n".join(found) or "every file and function is within its ceiling")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
