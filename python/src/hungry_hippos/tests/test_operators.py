"""Claims: one text of the Hyena family's operators is right in NumPy, PyTorch and JAX, and goes back rightly in PyTorch."""

from __future__ import annotations

import numpy as np
import pytest

from hungry_hippos import assert_right, check, suite
from hungry_hippos.examples.operators import OPERATORS, given, run

#: The text takes whole sequences.
CASES = [name for name, case in suite().items() if case.kind in OPERATORS and case.sequence == "whole"]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("library", ["numpy", "torch", "jax.numpy"])
def test_forwards(name, library):
    xp = pytest.importorskip(library)
    report = assert_right(name, run(xp, suite()[name]))
    assert not [stage for stage in report.absent if not stage.startswith("grad.")]


@pytest.mark.parametrize("name", CASES)
def test_backwards(name):
    torch = pytest.importorskip("torch")
    case = suite()[name]
    p = {name: x.requires_grad_() for name, x in given(torch, case).items()}
    stages = OPERATORS[case.kind](torch, p, case.metadata)
    result = next(stages[name] for name in ("y", "output", "gated") if name in stages)
    (result * torch.from_numpy(case["g"])).sum().backward()
    gradients = {f"grad.{name}": x.grad for name, x in p.items() if f"grad.{name}" in case}
    report = assert_right(case, {**stages, **gradients})
    assert not report.absent


def test_a_wrong_operator_is_named():
    case = suite()["97-hcl"]
    p = given(np, case)
    stages = OPERATORS[case.kind](np, {**p, "filter.D": 0 * p["filter.D"]}, case.metadata)
    assert [mistake.name for mistake in check(case, stages).suspects] == ["no_feedthrough"]
