"""Blocks out of checkpoints: H3 layers and language models, Hyena, StripedHyena's operators, Mamba-2.

    parameters = load("model.safetensors", "layer", "backbone.layers.0.mixer.")
    block = case("model.pt", "case.safetensors", "mamba2", "backbone.layers.0.mixer.", seq_len=32,
                 ngroups=1, dt_limit="0.0,inf", norm_before_gate=False, norm_eps=1e-5, norm_groups=1)

The kinds and their official names are those of ``hippos import`` (``hippos import --help``), which does this for
safetensors; files of PyTorch (``.bin``, ``.pt``, ``.pth``) are turned into one first: weights only, no code of theirs is
run, PyTorch has to be installed.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Iterable

import numpy as np

from ._arrays import stored
from ._binary import run
from ._errors import ArrayError, HipposError
from ._files import File, Stored, write
from ._golden import Golden

_OF_TORCH = (".bin", ".pt", ".pth")


def load(path: str | Path, kind: str = "layer", prefix: str = "", *, ignore: Iterable[str] = ()) -> dict[str, np.ndarray]:
    """The parameters of the block whose names begin with ``prefix``, by their official names, as ``golden`` takes them.

    ``ignore``: names (without the prefix) that are to be left out. bfloat16 becomes float32, which holds it.

    Raises HipposError, listing all of them, for parameters that are missing, names that are none, and shapes that
    contradict one another.
    """
    with tempfile.TemporaryDirectory(prefix="hippos-") as scratch:
        out = Path(scratch) / "block.safetensors"
        _import(Path(path), out, kind, prefix, ignore, ["--parameters"])
        file = File(out)
        return {name: file.read(name) for name in file.names()}


def case(
    path: str | Path,
    out: str | Path,
    kind: str = "layer",
    prefix: str = "",
    *,
    input: Any = None,
    ignore: Iterable[str] = (),
    **choices: Any,
) -> Golden:
    """Writes a case file of the block to ``out``, and returns it; ``check`` takes it as it takes a golden file.

    ``choices`` are what tensors do not tell, by their metadata keys: ``disc``, ``real_type``, ``l_max`` (None for none), ...
    ``input``: an array (batch, seq_len, channels), or tokens; without one it is drawn, of ``batch``, ``seq_len`` and
    ``seed``.

    Raises HipposError as ``load`` does, and for choices that are missing or none of this kind's.
    """
    flags: list[str | Path] = []
    for name, choice in choices.items():
        flags += [f"--{name.replace('_', '-')}", "none" if choice is None else str(choice)]
    with tempfile.TemporaryDirectory(prefix="hippos-") as scratch:
        if input is not None:
            given = stored("input", input, integers=True)
            name = "input_ids" if given.dtype.startswith("I") else "input"
            write(Path(scratch) / "input.safetensors", {name: given})
            flags += ["--input", Path(scratch) / "input.safetensors"]
        _import(Path(path), Path(out), kind, prefix, ignore, flags)
    return Golden(out)


def to_safetensors(path: str | Path, out: str | Path, prefix: str = "") -> None:
    """Writes the tensors of a file of PyTorch whose names begin with ``prefix`` as a safetensors file, names and types as
    they are; what is no tensor that cases are made of (counters, settings) is left out.

    Raises HipposError if PyTorch is not installed, or does not read the file without running code of its.
    """
    write(Path(out), {name: x for name, x in _of_torch(Path(path)).items() if name.startswith(prefix)})


def _import(path: Path, out: Path, kind: str, prefix: str, ignore: Iterable[str], flags: list[str | Path]) -> None:
    """Runs ``hippos import``."""
    flags = [*flags, *(["--prefix", prefix] if prefix else [])]
    ignored = ",".join(ignore)
    flags += ["--ignore", ignored] if ignored else []
    if path.suffix not in _OF_TORCH:
        run(["import", path, "--kind", kind, "--out", out, *flags])
        return
    with tempfile.TemporaryDirectory(prefix="hippos-") as scratch:
        turned = Path(scratch) / "checkpoint.safetensors"
        tensors = _of_torch(path)
        # The others only where the block is not there: they may say where it is.
        within = {name: x for name, x in tensors.items() if name.startswith(prefix)}
        write(turned, within or tensors)
        try:
            run(["import", turned, "--kind", kind, "--out", out, *flags])
        except HipposError as why:
            raise HipposError(str(why).replace(str(turned), str(path))) from None


def _of_torch(path: Path) -> dict[str, Stored]:
    try:
        import torch
    except ImportError as why:
        raise HipposError(f"{path}: reading {path.suffix} needs PyTorch; or save it as safetensors") from why
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as why:
        raise HipposError(f"{path}: {why}") from why
    found = found.get("state_dict", found) if isinstance(found, dict) else {}
    tensors = {}
    for name, tensor in found.items():
        try:
            tensors[name] = stored(name, tensor, integers=True)
        except ArrayError:
            continue  # Counters and the like: no parameter is among them, or it will be missing.
    return tensors
