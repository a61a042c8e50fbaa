"""Layers out of checkpoints, as ``golden`` takes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ._arrays import stored
from ._errors import ArrayError, HipposError, UnknownName
from ._files import File

#: The parameters of a layer by their official names, their shapes in letters: d channels, H heads, n diagonal models,
#: m taps, p modes.
LAYER: dict[str, str] = {
    **{f"{name}.weight": "dd" for name in ("q_proj", "k_proj", "v_proj", "output_linear")},
    **{f"{name}.bias": "d" for name in ("q_proj", "k_proj", "v_proj", "output_linear")},
    "ssm_k_kernel.kernel.B": "dm",
    "ssm_k_kernel.kernel.C": "1dm",
    "ssm_k_D": "d",
    "kernel.kernel.log_dt": "H",
    "kernel.kernel.B": "np2",
    "kernel.kernel.C": "1Hp2",
    "kernel.kernel.inv_A_real": "np",
    "kernel.kernel.A_imag": "np",
    "D": "H",
}


def load(path: str | Path, kind: str = "layer", prefix: str = "") -> dict[str, np.ndarray]:
    """The parameters of the layer whose names begin with ``prefix``, by their official names.

    ``path``: a safetensors file, or one of PyTorch (``.bin``, ``.pt``, ``.pth``: weights only, no code of it is run;
    needs PyTorch). bfloat16 becomes float32, which holds it.

    Raises HipposError, listing all of them, for parameters that are missing, names that are none, and shapes that
    contradict one another.
    """
    if kind != "layer":
        raise UnknownName(f"kind {kind!r}: expected 'layer'")
    path = Path(path)
    if path.suffix in (".bin", ".pt", ".pth"):
        tensors = _of_torch(path)
        names = list(tensors)
    else:
        file = File(path)
        names = file.names()
        tensors = {name: file.read(name) for name in names if name.startswith(prefix)}
    found = {name.removeprefix(prefix): x for name, x in tensors.items() if name.startswith(prefix)}
    wrong = [f"{name} is missing" for name in LAYER if name not in found]
    wrong += [f"{name} is no parameter of a layer" for name in found if name not in LAYER]
    wrong += _contradictions({name: x.shape for name, x in found.items() if name in LAYER})
    if wrong:
        hint = _elsewhere(names) if len(wrong) >= len(LAYER) else ""
        raise HipposError(f"{path}, names that begin with {prefix!r}: {'; '.join(wrong)}{hint}")
    return {name: found[name] for name in LAYER}


def _contradictions(shapes: dict[str, tuple[int, ...]]) -> list[str]:
    """Shapes that do not fit those before them."""
    lengths: dict[str, int] = {"1": 1, "2": 2}
    wrong = []
    for name, letters in LAYER.items():
        if name not in shapes:
            continue
        shape = shapes[name]
        if len(shape) != len(letters) or any(lengths.setdefault(a, n) != n for a, n in zip(letters, shape)):
            expected = ", ".join(str(lengths.get(letter, letter)) for letter in letters)
            wrong.append(f"{name} has shape {tuple(shape)}, expected ({expected})")
    return wrong


def _elsewhere(names: list[str]) -> str:
    """The prefixes at which a layer would be found."""
    ends = "q_proj.weight"
    prefixes = [name.removesuffix(ends) for name in names if name.endswith(ends)]
    return f" (a layer may begin at {', '.join(map(repr, prefixes))})" if prefixes else ""


def _of_torch(path: Path) -> dict[str, np.ndarray]:
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
            dtype, bits = stored(name, tensor, integers=True)
        except ArrayError:
            continue  # Counters and the like: no parameter is among them, or it will be missing.
        bits = (bits.astype(np.uint32) << 16).view(np.float32) if dtype == "BF16" else bits
        tensors[name] = bits
    return tensors
