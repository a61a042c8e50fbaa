"""Claims: stages of a PyTorch module are captured without changing it, gradients too; bits are kept."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hungry_hippos import ArrayError, UnknownName, assert_right, check, suite
from hungry_hippos._arrays import stored
from hungry_hippos.examples.torch_layer import Layer
from hungry_hippos.torch import COTANGENTS, CaptureError, capture


def captured(case, dtype=torch.float32):
    layer, u = Layer.of(case, dtype)
    with capture(layer, Layer.STAGES, grads=COTANGENTS if "g" in case else False) as stages:
        output = layer(u)
        if "g" in case:
            output.backward(torch.from_numpy(case["g"]).to(dtype))
    return stages


@pytest.mark.hippos
def test_every_layer(hippos_golden):
    report = assert_right(hippos_golden, captured(hippos_golden))
    assert not [name for name in report.absent if not name.startswith(("chunk_states", "grad.initial_state"))]


def test_double_precision():
    assert_right("04-heads-hd2", captured(suite()["04"], torch.float64))


def test_bits_are_kept():
    x = torch.tensor([1.0, 1.0078125, -123.5, 1e-40, 3.3e38]).bfloat16()
    dtype, bits = stored("x", x)
    assert dtype == "BF16" and (bits == x.view(torch.int16).numpy().view(np.uint16)).all()
    assert stored("x", x.half()).dtype == "F16" and stored("x", x.double().requires_grad_()).dtype == "F64"
    case = suite()["50-exact-basic"]
    report = check(case, {name: torch.from_numpy(case[name]).bfloat16() for name in ("q", "k", "v", "output")})
    assert report.passed and report.dtype == "bf16" and report.json["equal"] == {"exact": 4, "equal": 4}
    # Conjugated only by a flag, and not in order.
    z = torch.complex(torch.arange(6.0), torch.ones(6)).reshape(2, 3).T.conj()
    assert (stored("z", z).bits == torch.view_as_real(z.resolve_conj()).numpy()).all()


@pytest.mark.parametrize(
    ("tensor", "said"),
    [
        (torch.zeros(3, dtype=torch.int32), "is int32"),
        (torch.zeros(3, dtype=torch.float8_e5m2), "is float8_e5m2; expected float64, float32, float16, bfloat16"),
        (torch.zeros(3, device="meta"), "meta, which holds no values"),
        (torch.zeros(3, 3).to_sparse(), "sparse"),
        (torch.zeros(3, dtype=torch.complex32), "expected torch.complex64"),
    ],
)
def test_tensors_that_cannot_be_judged(tensor, said):
    with pytest.raises(ArrayError, match=said):
        check("01-basic", {"q": tensor})


class Twice(torch.nn.Module):
    """Everything a table can name, and what is computed in place."""

    def __init__(self):
        super().__init__()
        self.inner = torch.nn.Linear(2, 2)

    def forward(self, x):
        y = self.inner(x)
        y = torch.relu(y)
        z = torch.fft.rfft(self.inner(y))
        z = torch.einsum("bi,bi->b", z, z.conj()).real
        y.zero_()
        return z, y


def test_where_stages_are_found():
    module, x = Twice(), torch.randn(3, 2)
    names = {
        "first": "inner.output@1",
        "same": "forward.y@1",
        "given": "inner.input@2",
        "relu": "forward.y@2",
        "spectrum": "torch.fft.rfft",
        "power": ("output[0]", lambda z: z[None]),
        "taken": "forward.x",
        "clipped": "torch.relu.input",
    }
    with torch.no_grad(), capture(module, names) as stages:
        module(x)
    with torch.no_grad():
        first = module.inner(x)
        assert stages["first"].equal(first) and stages["same"].equal(first) and stages["taken"].equal(x) and stages["clipped"].equal(first)
        assert stages["given"].equal(first.relu()) and stages["relu"].equal(first.relu())
        assert stages["spectrum"].equal(torch.fft.rfft(module.inner(first.relu())))
    assert stages["power"].shape == (1, 3) and list(stages) == list(names)


@pytest.mark.parametrize(
    ("names", "error", "said"),
    [
        ({"q": "outer.output"}, UnknownName, "stage 'q': Twice has no submodule 'outer', but inner"),
        ({"q": "forward.w"}, UnknownName, "Twice.forward has no variable 'w', but self, x, y, z"),
        ({"q": "inner.output"}, CaptureError, r"had 2 values: @1 \(3, 2\), @2 \(3, 2\)"),
        ({"q": "inner.output@3"}, CaptureError, "had 2 values"),
        ({"q": "output"}, CaptureError, r"is 2 values; say which, as output\[0\]"),
        ({"q": "torch.sinh"}, CaptureError, "'torch.sinh' was not seen"),
        ({"q": "forward q"}, CaptureError, "'forward q' is no place"),
    ],
)
def test_what_is_not_found_is_said(names, error, said):
    module = Twice()
    with pytest.raises(error, match=said):
        with torch.no_grad(), capture(module, names):
            module(torch.randn(3, 2))


def test_one_call_and_its_own_gradients():
    module, x = torch.nn.Linear(2, 2), torch.randn(3, 2)
    with pytest.raises(CaptureError, match="Linear was called 2 times in the block; expected once"):
        with capture(module, {"q": "output@1"}):
            module(module(x))
    with pytest.raises(CaptureError, match="weight got no gradient"):
        with capture(module, {"q": "output"}, grads=True):
            module(x)
    module(x).sum().backward()
    with pytest.raises(CaptureError, match="weight has a gradient already"):
        with capture(module, {"q": "output"}, grads=True):
            pass
    # Nothing is left behind.
    assert not module._forward_hooks and not module._forward_pre_hooks
