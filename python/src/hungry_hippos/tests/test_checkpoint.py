"""Claims: a layer is found in a checkpoint by its prefix, and everything that is wrong with it is listed."""

from __future__ import annotations

import numpy as np
import pytest

from hungry_hippos import HipposError, UnknownName, suite
from hungry_hippos._arrays import stored
from hungry_hippos._files import Stored, write
from hungry_hippos.checkpoint import LAYER, load

PREFIX = "backbone.layers.0.mixer."


@pytest.fixture
def parameters():
    return {name: x.astype(np.float32) for name, x in suite()["03-heads"].parameters.items()}


def test_a_block_of_a_model():
    model = suite()["39-model-hybrid"]
    found = load(model.path, prefix=PREFIX)
    assert set(found) == set(LAYER)
    for name, x in found.items():
        assert (x == model[PREFIX + name]).all()


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
    for part in ("D is missing", "E is no parameter of a layer", "k_proj.bias has shape (7,), expected (6)"):
        assert part in text, text
    with pytest.raises(HipposError, match="q_proj.weight is missing.*may begin at 'a.'"):
        load(path)
    with pytest.raises(UnknownName, match="kind 'hyena': expected 'layer'"):
        load(path, "hyena")


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
    torch.save({"a": print}, tmp_path / "code.pt")
    with pytest.raises(HipposError, match="code.pt: "):
        load(tmp_path / "code.pt")
