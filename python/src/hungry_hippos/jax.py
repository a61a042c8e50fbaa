"""The stages of a JAX function, named where they are computed.

    def layer(p, u):
        q = tap("q", u @ p["q_proj.weight"].T + p["q_proj.bias"])
        ...

    with taps() as stages:
        jax.jit(layer)(p, u)
    report = check(golden, stages)
"""

from __future__ import annotations

from functools import partial
from typing import Any, Iterator, Mapping

import jax
import numpy as np

from ._errors import HipposError

_open: list["taps"] = []


class TapError(HipposError):
    """A name that was tapped more than once in one run."""


def tap(name: str, x: Any) -> Any:
    """``x`` itself; within ``taps`` its value is kept as the stage ``name``, also under ``jit`` and ``grad``.

    Outside, it compiles to nothing.
    """
    if _open:
        jax.debug.callback(partial(_keep, name), x)
    return x


def _keep(name: str, value: Any) -> None:
    for stages in _open[-1:]:
        stages._values.setdefault(name, []).append(np.asarray(value))


class taps(Mapping[str, np.ndarray]):
    """The stages tapped while the block runs, by name; afterwards a mapping for ``check``.

    Functions compiled before are traced again within the block, and once more after it.

    Raises TapError, when the block ends, if one name had several values: of a loop (``scan``), ``vmap`` or a second
    call, which one is meant nobody can tell. Tap what the loop returns.
    """

    def __init__(self) -> None:
        self._values: dict[str, list[np.ndarray]] = {}

    def __enter__(self) -> "taps":
        # What was traced without a tap would not have one.
        jax.clear_caches()
        _open.append(self)
        return self

    def __exit__(self, kind: Any, why: Any, trace: Any) -> None:
        jax.effects_barrier()
        _open.remove(self)
        jax.clear_caches()
        several = [name for name, values in self._values.items() if len(values) > 1]
        if several and kind is None:
            raise TapError(f"{several[0]!r} was tapped {len(self._values[several[0]])} times; expected once in the block")

    def __getitem__(self, stage: str) -> np.ndarray:
        return self._values[stage][0]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)
