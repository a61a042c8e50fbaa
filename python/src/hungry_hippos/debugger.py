"""The stages in what transformers' model debugger wrote.

    with model_addition_debugger_context(model, debug_path="dump", do_prune_layers=False, use_repr=False):
        model(u)
    report = check(golden, read("dump", {"zxbcdt": "in_proj.output", "gated": ("out_proj.input", change)}))

A table says where each stage is, as for ``hungry_hippos.torch.capture``: ``NAME.output`` and ``NAME.input`` of a
submodule, ``output`` and ``input`` of the model itself, ``[i]`` or ``[key]`` after it for one of several values. The debugger keeps what
modules without submodules return, and what the model returns; no local variables, no gradients.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Iterator, Mapping

from ._errors import HipposError, UnknownName
from ._files import File, Stored


def read(folder: str | Path, names: Mapping[str, Any]) -> dict[str, Stored]:
    """The stages, by name, bit for bit as they were saved; a mapping for ``check``.

    ``names``: for every stage where it is found, as above; a pair ``(where, function)`` brings it into the stage's
    layout (of bfloat16 the function is given the bits).

    Raises HipposError for a folder without a dump or with several, a dump of printed tensors (``use_repr=True``, the
    default, keeps four digits of a few elements), and a module that ran several times, of which only the last is kept;
    UnknownName for a place that is not in it.
    """
    folder = Path(folder)
    ending = "_debug_tree_FULL_TENSORS.json"
    trees = sorted(folder.glob(f"*{ending}"))
    if len(trees) != 1:
        raise HipposError(f"{folder}: holds {len(trees)} files *{ending}; expected one, as model_addition_debugger_context writes")
    model = trees[0].name.removesuffix(ending)
    tree = json.loads(trees[0].read_text(encoding="utf-8"))
    if not next(_values(tree), ".safetensors").endswith(".safetensors"):
        raise HipposError(f"{trees[0]}: holds tensors as they are printed, in four digits; run the debugger with use_repr=False")
    runs: dict[str, int] = {}
    _count(tree, runs)
    return {stage: _stage(folder, model, runs, stage, where) for stage, where in names.items()}


def _stage(folder: Path, model: str, runs: Mapping[str, int], stage: str, where: Any) -> Stored:
    change = lambda x: x
    if isinstance(where, tuple):
        where, change = where
    match = re.fullmatch(r"(?:([\w.]+)\.)?(input|output)(?:\[(\w+)\])?", where)
    if match is None:
        raise HipposError(f"stage {stage!r}: {where!r} is no place; expected NAME.output, NAME.input or either with [i]")
    module, side, item = match.groups()
    path = f"{model}.{module}" if module else model
    if module and runs.get(path, 0) != 1:
        known = ", ".join(name.removeprefix(f"{model}.") for name in runs)
        if path in runs:
            raise HipposError(f"stage {stage!r}: {module!r} ran {runs[path]} times, and the dump holds the last")
        raise UnknownName(f"stage {stage!r}: {model} ran no submodule {module!r}, but {known}")
    begin = f"{path}_{side}s"
    if side == "input":
        item = item or "0"
        begin += f"_args_{item}" if item.isdigit() else f"_kwargs_{item}"
    elif item is not None:
        begin += f"_{item}"
    file = folder / f"{begin}.safetensors"
    if not file.exists():
        held = sorted(other.name.removesuffix(".safetensors") for other in folder.glob(f"{path}_*.safetensors"))
        raise UnknownName(f"stage {stage!r}: {where!r} was not saved as {file.name}; of it there is {', '.join(held) or 'nothing'}")
    dtype, bits = File(file).stored("data")
    return Stored(dtype, change(bits))


def _count(node: Mapping[str, Any], runs: dict[str, int]) -> None:
    """How often each submodule ran."""
    for child in node.get("children") or ():
        runs[child["module_path"]] = runs.get(child["module_path"], 0) + 1
        _count(child, runs)


def _values(node: Any) -> Iterator[str]:
    """What stands for the values of tensors: the name of a file, or what was printed."""
    if isinstance(node, dict):
        value = node.get("value")
        if "shape" in node and value is not None:
            yield "\n".join(value) if isinstance(value, list) else value
        for child in node.values():
            yield from _values(child)
    elif isinstance(node, list):
        for child in node:
            yield from _values(child)
