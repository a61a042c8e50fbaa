"""A port's stages against golden ones."""

from __future__ import annotations

import difflib
import tempfile
from pathlib import Path
from typing import Any, Callable, Iterable, Mapping

import numpy as np

from . import _report
from ._arrays import stored
from ._binary import run
from ._errors import HipposError, UnknownName
from ._files import write
from ._golden import Golden, opened
from ._report import Report

#: Told of every report that assert_right makes; the pytest plugin keeps them.
observers: list[Callable[[Golden, Report], None]] = []


def check(
    golden: Golden | str | Path,
    stages: Mapping[str, Any] | str | Path,
    dtype: str | None = None,
    *,
    ignore: Iterable[str] = (),
) -> Report:
    """Judges a port's stages.

    ``golden``: a golden file, its path, or the name of a case of the suite. ``stages``: arrays of NumPy, PyTorch or
    JAX by the names of stages, or a file of them (safetensors or .npz). ``dtype``: what the port works in (f64, f32,
    tf32, f16, bf16, mixed-tf32, mixed-f16, mixed-bf16), by default the type the stages are stored in. ``ignore``:
    names that are no stages.

    Raises UnknownName for an array whose name is no stage's, ArrayError for one that cannot be written down, and
    HipposError with what the command has against the files.
    """
    golden, ignore = opened(golden), list(ignore)
    if isinstance(stages, (str, Path)) and Path(stages).suffix == ".npz":
        with np.load(stages) as arrays:
            stages = {name: arrays[name] for name in arrays.files}
    with tempfile.TemporaryDirectory(prefix="hippos-") as scratch:
        dump, page = Path(scratch) / "port.safetensors", Path(scratch) / "report.html"
        if isinstance(stages, (str, Path)):
            dump = Path(stages)
        else:
            write(dump, {name: stored(name, stages[name]) for name in _judged(golden, stages, ignore)})
            ignore = []
        arguments: list[str | Path] = ["check", golden.path, dump, "--json", "--report", page]
        if dtype is not None:
            arguments += ["--dtype", dtype]
        if ignore:
            arguments += ["--ignore", ",".join(ignore)]
        text = run(arguments, accepted=(0, 1, 2))
        return _report.read(text, page.read_text(encoding="utf-8"))


def _judged(golden: Golden, stages: Mapping[str, Any], ignore: list[str]) -> list[str]:
    """The names of arrays that are stages."""
    for name in ignore:
        if name not in stages:
            raise UnknownName(f"{name!r} is to be ignored, and is not there")
    known = golden.stages
    judged = [name for name in stages if name not in ignore]
    # A plain case is certified by the command, which knows its stages.
    for name in judged if known else []:
        if name not in known and name not in golden:
            close = difflib.get_close_matches(name, known, 1)
            meant = f"; did you mean {close[0]!r}?" if close else ""
            raise UnknownName(f"{name!r} is no stage of {golden.name}{meant} (its stages: {', '.join(known)})")
    if not judged:
        raise HipposError(f"no stage is given; expected any of {', '.join(known)}")
    return judged


def assert_right(
    golden: Golden | str | Path,
    stages: Mapping[str, Any] | str | Path,
    dtype: str | None = None,
    *,
    ignore: Iterable[str] = (),
    allow_undecided: bool = False,
) -> Report:
    """Judges a port's stages, as ``check`` does, and raises an AssertionError if it is not right.

    The message is, for every step that is wrong, the stage, the mistake and the fix; then the table.
    """
    __tracebackhide__ = True
    golden = opened(golden)
    report = check(golden, stages, dtype, ignore=ignore)
    for observer in observers:
        observer(golden, report)
    if report.passed or (allow_undecided and report.verdict == "undecided"):
        return report
    said = [str(finding) for finding in report.findings]
    undecided = [stage.name for stage in report.stages if stage.verdict == "undecided"]
    if not said:
        said = [f"undecided: {', '.join(undecided)}" if undecided else "undecided: a name is close to a stage's"]
    raise AssertionError("\n".join([f"{golden.name}: {report.verdict}", *said, "", report.text]))
