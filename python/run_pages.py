"""Runs what pages tell a reader to type: every block of Python and C++ of the pages named, in a folder that holds the
golden suite and a dump port.safetensors, those of one section one after another.

    python run_pages.py ../docs/port.md ../tests/golden/v2/README.md

A block of text right after a block of code is what it prints: lines in this order, `...` for any number of them,
or at the end of one for the rest of it. A block
of Python with a comment `# ...` is a sketch. One that imports what is not installed is left out with those after it, and
named. Needs the package installed, and a C++ compiler.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
#: What a block may need and a machine need not have.
OPTIONAL = ("torch", "jax", "safetensors", "transformers")


def sections(page: str) -> list[tuple[str, list[tuple[str, str]]]]:
    """The blocks of every section, by its heading."""
    parts = re.split(r"^##+ (.*)$", page, flags=re.M)
    return [(title, BLOCK.findall(text)) for title, text in zip(["", *parts[1::2]], parts[::2])]


def run_cpp(code: str, folder: Path) -> str:
    (folder / "block.cpp").write_text(code)
    compiler = os.environ.get("CXX", "c++")
    subprocess.run([compiler, "-std=c++17", "-Wall", "-Wextra", "-Werror", "-o", "block", "block.cpp"], cwd=folder, check=True)
    return subprocess.run(["./block"], cwd=folder, check=True, capture_output=True, text=True).stdout


def run_python(code: str, names: dict[str, object]) -> str:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "<page>", "exec"), names)
    return printed.getvalue()


def lacking(code: str) -> str | None:
    """What a block of Python imports and is not installed."""
    used = [name for name in OPTIONAL if re.search(rf"^(import|from) (hungry_hippos\.|hungry_hippos\.examples\.)?{name}(_layer|_mamba2)?\b", code, re.M)]
    return next((name for name in used if importlib.util.find_spec(name) is None), None)


def matches(quoted: str, line: list[str]) -> bool:
    begin = quoted.removesuffix("...")
    return line == [quoted] or (begin != quoted and line != [] and line[0].startswith(begin))


def missing(quoted: str, printed: str) -> str | None:
    """The first quoted line that was not printed where it should be."""
    lines, at, anywhere = printed.splitlines(), 0, False
    for line in quoted.splitlines():
        if line.strip() == "...":
            anywhere = True
            continue
        found = [i for i in range(at, len(lines) if anywhere else at + 1) if matches(line, lines[i : i + 1])]
        if not found:
            return line
        at, anywhere = found[0] + 1, False
    return None


def main(pages: list[str]) -> int:
    run, failed, left_out = 0, 0, 0
    for page in map(Path, pages):
        for title, blocks in sections(page.read_text(encoding="utf-8")):
            with tempfile.TemporaryDirectory() as scratch, contextlib.chdir(scratch):
                from hungry_hippos import suite

                for golden in suite().values():
                    shutil.copy(golden.path, scratch)
                shutil.copy(suite()["03"].path, "port.safetensors")
                names: dict[str, object] = {"__name__": "page"}
                printed, absent = "", None
                for language, text in blocks:
                    absent = absent or (lacking(text) if language == "python" else None)
                    if language == "python" and (absent or "# ..." in text):
                        if absent:
                            print(f"{page.name}: {title}: a block is left out, {absent} is not installed")
                            left_out += 1
                        printed = ""
                        continue
                    try:
                        if language == "python":
                            printed, run = run_python(text, names), run + 1
                        elif language == "cpp":
                            printed, run = run_cpp(text, Path(scratch)), run + 1
                        elif language == "text" and printed:
                            line = missing(text, printed)
                            assert line is None, f"not printed: {line!r}; printed was\n{printed}"
                            printed = ""
                    except Exception as why:  # One page's faults must not hide another's.
                        print(f"{page.name}: {title}: {type(why).__name__}: {why}")
                        failed += 1
                        break
    print(f"{run - failed} passed, {failed} failed, {left_out} skipped")
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]) != 0)
