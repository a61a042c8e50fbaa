"""Claims: stages of a JAX function are tapped, compiled or not, and what is ambiguous is refused."""

from __future__ import annotations

import numpy as np
import pytest

jax = pytest.importorskip("jax")

from hungry_hippos import ArrayError, assert_right, check, suite
from hungry_hippos._arrays import stored
from hungry_hippos.examples import jax_mamba2
from hungry_hippos.examples.jax_layer import layer, of
from hungry_hippos.jax import TapError, tap, taps

jnp = jax.numpy


@pytest.mark.hippos("[0-2]*")
def test_layers(hippos_golden):
    l_max = hippos_golden.metadata["l_max"]
    if l_max != "none" and int(l_max) < hippos_golden.input.shape[1]:
        with pytest.raises(ValueError, match="cuts the kernels"):
            layer(*of(hippos_golden))
        return
    with taps() as stages:
        layer(*of(hippos_golden))
    report = assert_right(hippos_golden, stages)
    assert report["final_state"].verdict == "pass"


@pytest.mark.parametrize("name", ["72", "73", "74", "75", "76"])
def test_documents(name):
    with taps() as stages:
        layer(*of(suite()[name]))
    assert {"kv", "final_state", "final_state_k"} <= {stage.name for stage in assert_right(name, stages).stages}


@pytest.mark.parametrize("name", ["80", "81", "82", "84", "85"])
def test_ssd_and_mamba2(name):
    case = suite()[name]
    with taps() as stages:
        if case.kind == "ssd":
            jax_mamba2.operator(*jax_mamba2.of_ssd(case))
        else:
            jax_mamba2.layer(*jax_mamba2.of(case))
    assert not [stage for stage in assert_right(case, stages).absent if not stage.startswith(("grad.", "step"))]


def test_taps_see_what_was_compiled_before():
    double = jax.jit(lambda x: 2 * tap("q", x + 1))
    x = jnp.arange(3.0)
    double(x)
    with taps() as stages:
        double(x)
        jax.grad(lambda x: (3 * tap("k", x)).sum())(x)
    assert (stages["q"] == np.array([1, 2, 3])).all() and (stages["k"] == x).all()
    double(x)
    assert list(stages) == ["q", "k"]
    with pytest.raises(TapError, match="'q' was tapped 3 times; expected once"):
        with taps():
            jax.vmap(double)(x)


def test_bits_are_kept():
    x = jnp.array([1.0, 1.0078125, -123.5], jnp.bfloat16)
    dtype, bits = stored("x", x)
    assert dtype == "BF16" and (bits == np.asarray(x).view(np.uint16)).all()
    case = suite()["50-exact-basic"]
    report = check(case, {name: jnp.asarray(case[name], jnp.bfloat16) for name in ("q", "output")})
    assert report.passed and report.json["equal"] == {"exact": 2, "equal": 2}


def test_a_traced_array_has_no_values():
    with pytest.raises(ArrayError, match="name it by hungry_hippos.jax.tap"):
        jax.jit(lambda x: check("01-basic", {"q": x}))(jnp.zeros(3))
