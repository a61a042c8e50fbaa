"""Claims: a right port passes on every case of the suite; what is wrong is named, or said to be no answerable request."""

from __future__ import annotations

import subprocess
import sysconfig

import numpy as np
import pytest

from hungry_hippos import ArrayError, BinaryNotFound, HipposError, UnknownName, assert_right, check, golden, suite
from hungry_hippos._binary import binary
from hungry_hippos._files import File, Stored, write
from hungry_hippos.examples.numpy_layer import layer, served
from hungry_hippos.examples.numpy_mamba2 import layer_of, ssd_of


def stages_of(case, **changed):
    """What the NumPy port makes of a case, with some parameters and choices changed."""
    parameters, choices = case.parameters, dict(case.metadata)
    for name, value in changed.items():
        (choices if name in choices else parameters)[name] = value
    states = {name: case[name] for name in ("initial_state_k", "initial_state") if name in case}
    return layer(parameters, case.input, choices, states)


def test_the_suite_travels_along():
    cases = suite()
    assert len(cases) >= 67 and cases["03"].name == "03-heads" and cases["03-heads"].kind == "layer"
    kinds = {case.kind for case in cases.values()}
    assert {"layer", "model", "dense-ssm", "hyena", "mamba2"} <= kinds
    assert sum(len(cases.select(kind=kind)) for kind in kinds) == len(cases)
    assert cases.select("*-heads*", "layer", "whole")
    assert cases["03"].input.shape == (2, 19, 6) and len(cases["03"].parameters) == 17
    with pytest.raises(UnknownName, match="'3' is no case of the suite; expected one of 01-basic, "):
        cases["3"]


@pytest.mark.hippos
def test_a_right_port_passes(hippos_golden):
    assert_right(hippos_golden, stages_of(hippos_golden))


@pytest.mark.parametrize("name", ["72", "73", "74", "75", "76"])
def test_documents(name):
    report = assert_right(name, served(suite()[name]))
    assert not [stage for stage in report.absent if not stage.startswith("grad.")]


@pytest.mark.parametrize("name", ["80", "81", "82", "84", "85"])
def test_ssd_and_mamba2(name):
    case = suite()[name]
    stages = ssd_of(case) if case.kind == "ssd" else layer_of(case)
    assert not [stage for stage in assert_right(case, stages).absent if not stage.startswith("grad.")]


def test_three_mistakes_are_named():
    case = suite()["03-heads"]
    no_skips = {"D": 0 * case.parameters["D"], "ssm_k_D": 0 * case.parameters["ssm_k_D"]}
    with pytest.raises(AssertionError) as failure:
        assert_right(case, stages_of(case, **no_skips, head_order="hd2"))
    for name in ("M18 no_shift_d", "M34 no_d", "M24 head_out_perm"):
        assert name in str(failure.value)
    # The first stage, the mistake and the fix come first.
    lines = str(failure.value).splitlines()
    assert lines[0] == "03-heads: refused" and lines[1].startswith("shift_k: ") and lines[3].startswith("  fix: ")


def test_a_report_holds_what_the_command_says(tmp_path):
    case = suite()["01-basic"]
    stages = stages_of(case, ssm_k_D=0 * case.parameters["ssm_k_D"])
    report = check(case, stages)
    assert (report.verdict, report.passed, report.dtype) == ("refused", False, "f32")
    assert [finding.stage for finding in report.findings] == ["shift_k"] and report["q"].verdict == "pass"
    assert [mistake.id for mistake in report.suspects] == ["M18"] and report.not_excluded is None
    stage = report["shift_k"]
    assert stage.of_tolerance > 1 and stage.golden == case["shift_k"][stage.at]

    dump = tmp_path / "port.safetensors"
    write(dump, {name: Stored("F32", stages[name]) for name in stages})
    printed = subprocess.run([binary(), "check", case.path, dump], capture_output=True, text=True)
    assert printed.returncode == 1 and printed.stdout == str(report)
    assert str(check(case, dump)) == str(report)
    np.savez(tmp_path / "port.npz", **stages)
    assert str(check(case, tmp_path / "port.npz")) == str(report)

    assert report._repr_html_().startswith("<iframe srcdoc=") and "M18" in report.html
    for foreign in ("<script", "http:", "https:", "url("):
        assert foreign not in report.html
    report.save(tmp_path / "report.html")
    assert 10_000 < (tmp_path / "report.html").stat().st_size < 1_000_000


def test_an_undecided_port_is_no_pass():
    case = suite()["01-basic"]
    report = check(case, {"output": case["output"]})
    assert report.passed and len(report.absent) == len(case.stages) - 1 and report.not_excluded is not None
    # Stored under a name that only looks like one: the command says so.
    stages = stages_of(case)
    with pytest.raises(UnknownName, match="'ouput' is no stage of 01-basic; did you mean 'output'"):
        check(case, {"q": stages["q"], "ouput": stages["output"]})
    assert check(case, {"q": stages["q"], "ouput": stages["output"]}, ignore=["ouput"]).passed


def test_undecided_is_refused_unless_allowed(tmp_path):
    case, dump = suite()["01-basic"], tmp_path / "port.safetensors"
    stages = stages_of(case)
    write(dump, {"q": Stored("F32", stages["q"]), "ouput": Stored("F32", stages["output"])})
    assert check(case, dump).verdict == "undecided"
    assert check(case, dump, ignore=["ouput"]).passed
    with pytest.raises(AssertionError, match="01-basic: undecided"):
        assert_right(case, dump)
    assert assert_right(case, dump, allow_undecided=True).verdict == "undecided"


@pytest.mark.parametrize(
    ("stages", "error", "said"),
    [
        ({}, HipposError, "no stage is given; expected any of "),
        ({"q": [1.0, 2.0]}, ArrayError, "'q' is a list; expected an array"),
        ({"q": np.zeros((1, 24, 4), np.int64)}, ArrayError, "'q' is int64; expected float64, float32"),
        ({"q": np.zeros(3, object)}, ArrayError, "'q' is object; expected float64"),
        ({"q": np.zeros(3, np.clongdouble)}, ArrayError, "expected complex64 or complex128"),
        ({"q": np.zeros((7, 5), np.float32)}, HipposError, "expected shape"),
        ("nowhere.safetensors", HipposError, "nowhere.safetensors"),
    ],
)
def test_what_cannot_be_judged_is_said(stages, error, said):
    with pytest.raises(error) as failure:
        check("01-basic", stages)
    assert said in str(failure.value)


def test_wrong_requests_are_said(tmp_path, monkeypatch):
    case = suite()["01-basic"]
    with pytest.raises(HipposError, match="expected one of f64, f32"):
        check(case, {"q": case["q"]}, "float32")
    with pytest.raises(UnknownName, match="'no-case' is no case of the suite"):
        check("no-case", {"q": case["q"]})
    with pytest.raises(UnknownName, match="'x' is to be ignored, and is not there"):
        check(case, {"q": case["q"]}, ignore=["x"])
    (tmp_path / "text.safetensors").write_text("no such thing")
    with pytest.raises(HipposError, match="text.safetensors: is no safetensors file"):
        check(tmp_path / "text.safetensors", {"q": case["q"]})
    monkeypatch.setenv("HIPPOS", str(tmp_path / "nothing"))
    with pytest.raises(BinaryNotFound, match="HIPPOS is .* no program"):
        check(case, {"q": case["q"]})
    monkeypatch.delenv("HIPPOS")
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sysconfig, "get_path", lambda *_: str(tmp_path))
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    with pytest.raises(BinaryNotFound, match="install the wheel again"):
        check(case, {"q": case["q"]})


def test_golden_files_of_ones_own(tmp_path):
    case = suite()["03-heads"]
    choices = {name: case.metadata[name] for name in ("head_dim", "disc", "real_type", "head_order") if name in case.metadata}
    made = golden(case.parameters, case.input, **choices, l_max=None, g=case["g"])
    assert set(made.stages) == set(case.stages)
    for name in case.stages:
        assert (made[name] == case[name]).all() and (made[f"scale.{name}"] == case[f"scale.{name}"]).all()
    assert check(made.save(tmp_path / "own.safetensors"), stages_of(case)).passed

    with pytest.raises(HipposError, match="metadata disc is missing"):
        golden(case.parameters, case.input, head_dim=2, real_type="exp", l_max=None)
    with pytest.raises(UnknownName, match="'heads' is no choice of a case of kind 'layer'; expected some of .*head_dim"):
        golden(case.parameters, case.input, **choices, l_max=None, heads=3)
    with pytest.raises(UnknownName, match="'state' is nothing a case is given"):
        golden(case.parameters, case.input, **choices, l_max=None, state=case.input)


def test_sixteen_bits_are_kept(tmp_path):
    bits = np.array([0x3F80, 0x3F81, 0xC2F7, 0x0001, 0x7F7F], np.uint16)
    write(tmp_path / "bits", {"x": Stored("BF16", bits)}, {"key": "välue"})
    file = File(tmp_path / "bits")
    assert file.metadata == {"key": "välue"} and file.shape("x") == (5,)
    x = file.read("x")
    assert x.dtype == np.float32 and (x.view(np.uint32) == bits.astype(np.uint32) << 16).all()


def test_complex_states_are_pairs():
    case = suite()["03-heads"]
    stages = stages_of(case)
    pairs = stages["final_state"]
    assert check(case, {"final_state": (pairs[..., 0] + 1j * pairs[..., 1]).astype(np.complex64)}).passed
    assert not check(case, {"final_state": (pairs[..., 0] - 1j * pairs[..., 1]).astype(np.complex64)}).passed
