"""Claims: a block is found in a checkpoint by its prefix, and everything that is wrong with it is listed."""

from __future__ import annotations

import numpy as np
import pytest

from hungry_hippos import HipposError, check, golden, suite
from hungry_hippos._arrays import stored
from hungry_hippos._files import Stored, write
from hungry_hippos.checkpoint import case, load
from hungry_hippos.examples.numpy_mamba2 import layer_of

PREFIX = "backbone.layers.0.mixer."


@pytest.fixture
def parameters():
    return {name: x.astype(np.float32) for name, x in suite()["03-heads"].parameters.items()}


def test_a_block_of_a_model():
    model = suite()["39-model-hybrid"]
    found = load(model.path, prefix=PREFIX)
    assert len(found) == 17
    for name, x in found.items():
        assert (x == model[PREFIX + name]).all()


@pytest.mark.parametrize("name", ["94", "96", "97", "98", "99", "84"])
def test_other_kinds(tmp_path, name):
    block, path = suite()[name], tmp_path / "model.safetensors"
    write(path, {f"a.{n}": stored(n, x) for n, x in block.parameters.items()})
    found = load(path, block.kind, "a.")
    assert found.keys() == block.parameters.keys()
    assert all((x == block[n]).all() for n, x in found.items())


def test_a_case_of_a_block(tmp_path):
    block, path = suite()["84-mamba2"], tmp_path / "model.safetensors"
    write(path, {f"a.{n}": stored(n, x) for n, x in {**block.parameters, "odd": np.zeros(1)}.items()})
    choices = {name: block.metadata[name] for name in ("ngroups", "dt_limit", "norm_before_gate", "norm_eps", "norm_groups")}
    with pytest.raises(HipposError, match="odd is no parameter of a mamba2"):
        case(path, tmp_path / "case", "mamba2", "a.", **choices)
    with pytest.raises(HipposError, match="--ngroups, --norm-eps are missing"):
        some = {name: x for name, x in choices.items() if name not in ("ngroups", "norm_eps")}
        case(path, tmp_path / "case", "mamba2", "a.", ignore=["odd"], **some)
    made = case(path, tmp_path / "case", "mamba2", "a.", input=block.input, ignore=["odd"], **choices)
    # Certified where it is judged, as the golden file is: the stages are the same.
    stages = layer_of(block)
    assert check(made, {name: stages[name] for name in ("zxbcdt", "y", "output")}).passed
    drawn = case(path, tmp_path / "drawn", "mamba2", "a.", ignore=["odd"], batch=2, seq_len=5, **choices)
    assert drawn.input.shape == (2, 5, 6)


def test_what_is_wrong_is_listed(tmp_path, parameters):
    path = tmp_path / "layer.safetensors"

    def said(changed):
        write(path, {f"a.{name}": stored(name, x) for name, x in changed.items()})
        with pytest.raises(HipposError) as failure:
            load(path, prefix="a.")
        return str(failure.value)

    del parameters["D"]
    parameters["E"], parameters["k_proj.bias"] = np.zeros(3), np.zeros(7, np.float32)
    text = said(parameters)
    for part in ("D is missing", "E is no parameter of a layer", "k_proj.bias has shape [7], expected [6]"):
        assert part in text, text
    with pytest.raises(HipposError, match='q_proj.weight is missing.*may begin at "a."'):
        load(path)
    with pytest.raises(HipposError, match='kind: unknown value "ssd"; expected one of layer, model, hyena'):
        load(path, "ssd")


def test_bfloat16_is_widened(tmp_path, parameters):
    stored_ = {name: stored(name, x) for name, x in parameters.items()}
    stored_["D"] = Stored("BF16", np.array([0x3F81, 0xC2F7, 0x0001], np.uint16))
    write(tmp_path / "x.safetensors", stored_)
    expected = (np.array([0x3F81, 0xC2F7, 0x0001], np.uint32) << 16).view(np.float32)
    assert (load(tmp_path / "x.safetensors")["D"] == expected).all()


def test_weights_of_pytorch(tmp_path, parameters):
    torch = pytest.importorskip("torch")
    tensors = {PREFIX + name: torch.from_numpy(x).bfloat16() for name, x in parameters.items()}
    torch.save({"state_dict": {**tensors, "other": torch.zeros(2), "step": 3}}, tmp_path / "x.pt")
    found = load(tmp_path / "x.pt", prefix=PREFIX)
    for name, x in found.items():
        assert (x == torch.from_numpy(parameters[name]).bfloat16().float().numpy()).all()
    with pytest.raises(HipposError, match=r"x.pt: names that begin with .*may begin at"):
        load(tmp_path / "x.pt", prefix="backbone.layers.1.mixer.")
    made = golden(found, np.ones((1, 4, 6)), disc="bilinear", real_type="exp", l_max=None, head_dim=2)
    assert len(made.stages) > 10
    torch.save({"a": print}, tmp_path / "code.pt")
    with pytest.raises(HipposError, match="code.pt: "):
        load(tmp_path / "code.pt")
