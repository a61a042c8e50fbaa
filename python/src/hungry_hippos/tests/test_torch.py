"""Claims: stages of a PyTorch module are captured without changing it, gradients too; bits are kept."""

from __future__ import annotations

import re

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hungry_hippos import ArrayError, HipposError, UnknownName, assert_right, check, golden, suite
from hungry_hippos._arrays import stored
from hungry_hippos.examples.torch_layer import Layer
from hungry_hippos.examples.torch_mamba2 import Mamba2, Ssd
from hungry_hippos.torch import COTANGENTS, TRANSFORMERS_MAMBA2, CaptureError, capture


def captured(case, dtype=torch.float32):
    layer, u = Layer.of(case, dtype)
    has_g = any(name.startswith("grad.") for name in case.stages)
    with capture(layer, Layer.STAGES, grads=COTANGENTS if has_g else False) as stages:
        output = layer(u)
        if has_g:
            layer.loss(case, output).backward()
    return stages


@pytest.mark.hippos
def test_every_layer(hippos_golden):
    report = assert_right(hippos_golden, captured(hippos_golden))
    assert not [name for name in report.absent if not name.startswith(("chunk_states", "grad.initial_state"))]


@pytest.mark.parametrize("name", ["72", "73", "74", "75", "76", "79"])
def test_documents_and_cotangents_of_states(name):
    report = assert_right(suite()[name], captured(suite()[name]))
    assert {"grad.kv", "grad.D", "grad.input", "final_state"} <= {stage.name for stage in report.stages}


@pytest.mark.parametrize("name", ["80", "81", "82"])
def test_ssd(name):
    module = Ssd(suite()[name])
    with capture(module, Ssd.STAGES, grads=True) as stages:
        module.backward(module())
    assert assert_right(name, stages).absent == ()


@pytest.mark.parametrize("name", ["84", "85"])
def test_mamba2(name):
    case = suite()[name]
    layer, u, loss = Mamba2.of(case)
    with capture(layer, Mamba2.stages(case), grads=True) as stages:
        loss(layer(u)).backward()
    report = assert_right(case, stages)
    assert not [stage for stage in report.absent if not stage.startswith("step")]


def test_the_gradient_of_a_stage_is_where_it_is_wrong():
    """Of a projection that goes back wrongly: what came to its output is right, its own gradients are not."""
    case = suite()["03-heads"]
    layer, u = Layer.of(case)
    layer.v_proj.register_forward_hook(lambda module, given, v: 2 * v - v.detach())
    with capture(layer, Layer.STAGES, grads=COTANGENTS) as stages:
        layer.loss(case, layer(u)).backward()
    report = check(case, stages)
    assert report["grad.v"].verdict == "pass"
    assert {stage.name for stage in report.stages if stage.verdict == "fail"} == {"grad.v_proj.weight", "grad.v_proj.bias", "grad.input"}
    with pytest.raises(UnknownName, match="gradient of 'w' is wanted, and the table has no such stage, but q"):
        capture(layer, {"q": "forward.q"}, grads=["w"])
    module = torch.nn.Linear(2, 2)
    with pytest.raises(CaptureError, match="'q': no gradient came to 'output'"):
        with capture(module, {"q": "output"}, grads=["q"]):
            module(torch.zeros(1, 2))
            (module.weight.sum() + module.bias.sum()).backward()


def test_transformers_mamba2():
    """Their layer as it is: a table of names, and a golden file of its own parameters."""
    modeling = pytest.importorskip("transformers.models.mamba2.modeling_mamba2")
    from transformers import Mamba2Config

    torch.manual_seed(0)
    sizes = dict(num_heads=4, head_dim=4, hidden_size=8, expand=2, state_size=5, n_groups=2, chunk_size=8)
    layer = modeling.Mamba2Mixer(Mamba2Config(**sizes, layer_norm_epsilon=1e-5, num_hidden_layers=1, vocab_size=8), 0).eval()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    u, g = torch.randn(2, 19, 8, requires_grad=True), torch.randn(2, 19, 8)
    choices = dict(kind="mamba2", ngroups=2, norm_before_gate=False, norm_eps=1e-5, norm_groups=2, dt_limit="0.0,inf")
    case = golden(layer.state_dict(), u, **choices, g=g)
    with capture(layer, TRANSFORMERS_MAMBA2, grads=True) as stages:
        layer(u).backward(g)
    report = assert_right(case, stages)
    assert report.absent == ("a", "y", "conv_state", "ssm_state") and len(report.stages) == 16
    # The norm over all channels, which an earlier version of it had, is named.
    layer.norm.group_size = 16
    with torch.no_grad(), capture(layer, TRANSFORMERS_MAMBA2) as stages:
        layer(u)
    assert [mistake.id for mistake in check(case, stages).suspects][:1] == ["S02"]


def test_dumps_of_transformers_debugger(tmp_path):
    transformers = pytest.importorskip("transformers")
    from hungry_hippos.debugger import read

    case = suite()["03-heads"]
    layer, u = Layer.of(case)

    def dumped(**options):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        with transformers.model_addition_debugger_context(layer, debug_path=str(folder), do_prune_layers=False, **options):
            layer(u)
        return folder

    swap = lambda x: x.swapaxes(1, 2)
    names = {"q": ("q_proj.output", swap), "gated": "output_linear.input", "output": "output"}
    folder = dumped(use_repr=False)
    assert len(assert_right(case, read(folder, names)).stages) == 3
    # v in place of k: told apart.
    assert not check(case, read(folder, {"k": ("v_proj.output", swap)})).passed
    for where, error, said in [
        ("conv.output", UnknownName, "Layer ran no submodule 'conv', but q_proj"),
        ("q_proj.output[1]", UnknownName, "was not saved as Layer.q_proj_outputs_1.safetensors"),
        # Only what modules without submodules return is kept.
        ("kernel.output", UnknownName, "was not saved as Layer.kernel_outputs.safetensors; of it there is nothing"),
        ("forward.q", HipposError, "'forward.q' is no place"),
    ]:
        with pytest.raises(error, match=re.escape(said)):
            read(folder, {"q": where})
    with pytest.raises(HipposError, match="in four digits; run the debugger with use_repr=False"):
        read(dumped(), names)
    with pytest.raises(HipposError, match="holds 0 files"):
        read(tmp_path / "nowhere", names)


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
