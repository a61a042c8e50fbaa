"""Golden files: those of the suite, and those made from a layer of one's own."""

from __future__ import annotations

import shutil
import tempfile
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Iterator, Mapping

import numpy as np

from ._arrays import stored
from ._binary import run
from ._errors import ArrayError, HipposError, UnknownName
from ._files import File, write

_SCALES = ("scale.", "probable.", "projections.")
#: What a case is given besides parameters.
_GIVEN = (
    *("input", "input_ids", "g", "initial_state", "initial_state_k", "initial_x"),
    *("cu_seqlens", "lengths", "marks", "g.final_state", "g.final_state_k"),
    *("initial_conv_state", "initial_ssm_state", "g.conv_state", "g.ssm_state", "step_input"),
)


class Golden:
    """A golden file: a case (parameters, an input, choices), and every stage of it, certified.

    ``metadata`` are the choices as strings (head_dim, disc, real_type, l_max, head_order, ...).
    """

    def __init__(self, path: str | Path) -> None:
        """Raises HipposError for what is no safetensors file."""
        self.path = Path(path)
        self._file = File(self.path)
        self.metadata: dict[str, str] = self._file.metadata

    @property
    def name(self) -> str:
        """The file's name without its ending."""
        return self.path.stem

    @property
    def kind(self) -> str:
        """``layer``, ``model``, ``hyena``, ``mamba2``, ..."""
        kind = self.metadata.get("kind")
        return kind or ("model" if "input_ids" in self._file.names() else "layer")

    @property
    def sequence(self) -> str:
        """How its rows are served: ``whole``, ``packed``, ``padded``, ``schedule`` or ``cotangent``."""
        return self.metadata.get("sequence", "whole")

    @property
    def stages(self) -> list[str]:
        """The names of the stages, as far as the file is certified."""
        names = self._file.names()
        return [name for name in names if f"scale.{name}" in names]

    @property
    def parameters(self) -> dict[str, np.ndarray]:
        """The parameters, by their official names."""
        # Not all that begins with projections. is a scale: a parameter of StripedHyena is called projections.weight.
        others = {*self.stages, *_GIVEN, *(begin + stage for begin in _SCALES for stage in self.stages)}
        names = [name for name in self._file.names() if name not in others]
        return {name: self[name] for name in names}

    @property
    def input(self) -> np.ndarray:
        """The input (batch, seq_len, d_model); of a model the tokens."""
        return self["input_ids" if "input_ids" in self else "input"]

    def __contains__(self, name: str) -> bool:
        return name in self._file.names()

    def __getitem__(self, name: str) -> np.ndarray:
        """A tensor of the file: a stage, a parameter, ``scale.STAGE``."""
        return self._file.read(name)

    def save(self, path: str | Path) -> "Golden":
        """Copies the file; returns the golden file there."""
        shutil.copyfile(self.path, path)
        return Golden(path)

    def __repr__(self) -> str:
        return f"<Golden {self.name}: {self.kind}, {len(self.stages)} stages>"


class Suite(Mapping[str, Golden]):
    """The golden suite that travels in the package, by the names of its cases."""

    def __init__(self, folder: Path) -> None:
        self._paths = {path.stem: path for path in sorted(folder.glob("*.safetensors"))}
        if not self._paths:
            raise HipposError(f"{folder} holds no golden file: install the wheel again")

    def __getitem__(self, name: str) -> Golden:
        """A case by its name, or by its number: ``suite()["03"]``."""
        found = [known for known in self._paths if known == name or known.split("-")[0] == name]
        if not found:
            raise UnknownName(f"{name!r} is no case of the suite; expected one of {', '.join(self._paths)}")
        return Golden(self._paths[found[0]])

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)

    def select(self, pattern: str = "*", kind: str | None = None, sequence: str | None = None) -> list[Golden]:
        """The cases whose name matches a pattern such as ``*-heads*``, of a kind, and served so."""
        cases = (Golden(path) for name, path in self._paths.items() if fnmatchcase(name, pattern))
        return [case for case in cases if kind in (None, case.kind) and sequence in (None, case.sequence)]


def suite() -> Suite:
    """The golden suite that travels in the package."""
    return Suite(Path(__file__).parent / "golden_suite")


def opened(golden: Golden | str | Path) -> Golden:
    """A golden file by path, or the name of a case of the suite.

    Raises HipposError, naming what was looked for.
    """
    if isinstance(golden, Golden):
        return golden
    path = Path(golden)
    if isinstance(golden, str) and path.name == golden and not path.suffix and not path.exists():
        return suite()[golden]
    return Golden(path)


def golden(parameters: Mapping[str, Any], input: Any, **choices: Any) -> Golden:
    """The golden file of a layer (or model) of one's own.

    ``parameters`` under their official names (a state dict), ``input`` (batch, seq_len, d_model), or tokens for a
    model. ``choices`` say what shapes do not tell: ``kind`` if it is no H3 layer; ``head_dim``, ``disc``, ``real_type``,
    ``l_max`` (None for none), ``head_order``, or those of the kind; arrays among them are what else the case is given: ``g``, ``initial_state``,
    ``initial_state_k``, ``cu_seqlens``, ... The file lives as long as the result; ``save`` keeps it.

    Raises HipposError with what the command says of a case that is incomplete or contradicts itself, and for
    choices it does not know.
    """
    # It lives as long as the object that holds it.
    folder = tempfile.TemporaryDirectory(prefix="hippos-")
    case, out = Path(folder.name) / "case.safetensors", Path(folder.name) / "golden.safetensors"
    tensors = {name: stored(name, array) for name, array in parameters.items()}
    given = stored("input", input, integers=True)
    tensors["input" if given.bits.dtype.kind == "f" or given.dtype == "BF16" else "input_ids"] = given
    metadata = {}
    for name, choice in choices.items():
        if hasattr(choice, "shape"):
            if name not in _GIVEN:
                raise UnknownName(f"{name!r} is nothing a case is given; expected {', '.join(_GIVEN[2:])}")
            tensors[name] = stored(name, choice, integers=True)
        elif isinstance(choice, (str, int, float)) or choice is None:
            metadata[name] = "none" if choice is None else str(choice)
        else:
            raise ArrayError(f"{name!r} is a {type(choice).__name__}; expected a string, a number, None or an array")
    write(case, tensors, metadata)
    run(["golden", "--from", case, "--out", out])
    made = Golden(out)
    unknown = [name for name in metadata if name not in made.metadata]
    if unknown:
        known = ", ".join(name for name in made.metadata if name not in ("format", "golden", "exact"))
        raise UnknownName(f"{unknown[0]!r} is no choice of a case of kind {made.kind!r}; expected some of {known}")
    made._folder = folder  # type: ignore[attr-defined]
    return made
