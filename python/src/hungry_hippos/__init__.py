"""Checks a port of the H3 layer against certified golden outputs, and names the mistake.

    from hungry_hippos import check, suite

    for golden in suite().select(kind="layer", sequence="whole"):
        stages = my_layer(golden.parameters, golden.input, golden.metadata)  # {"q": ..., "output": ...}
        print(check(golden, stages))

``hungry_hippos.torch`` captures the stages of a PyTorch module, ``hungry_hippos.jax`` those of a JAX function.
"""

from ._check import assert_right, check
from ._errors import ArrayError, BinaryNotFound, HipposError, UnknownName
from ._golden import Golden, Suite, golden, suite
from ._report import Finding, Mistake, Report, Stage, Suspect

__all__ = [
    "ArrayError",
    "BinaryNotFound",
    "Finding",
    "Golden",
    "HipposError",
    "Mistake",
    "Report",
    "Stage",
    "Suite",
    "Suspect",
    "UnknownName",
    "assert_right",
    "check",
    "golden",
    "suite",
]
