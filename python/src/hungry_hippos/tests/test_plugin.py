"""Claims: the plugin's fixture runs over the cases that its marker names, and pages of the reports are written."""

from __future__ import annotations

pytest_plugins = ["pytester"]

PORT = """
import pytest
from hungry_hippos import assert_right
from hungry_hippos.examples.numpy_layer import layer

@pytest.mark.hippos("0[1-3]-*")
def test_port(hippos_golden):
    parameters = hippos_golden.parameters
    parameters["D"] = 0 * parameters["D"] if WRONG else parameters["D"]
    assert_right(hippos_golden, layer(parameters, hippos_golden.input, hippos_golden.metadata))
"""


def test_a_right_port(pytester):
    pytester.makepyfile(PORT.replace("WRONG", "False"))
    pytester.runpytest_subprocess("--strict-markers").assert_outcomes(passed=3)


def test_a_wrong_port_and_its_pages(pytester):
    pytester.makepyfile(PORT.replace("WRONG", "hippos_golden.name == '02-zoh'"))
    result = pytester.runpytest_subprocess("--hippos-report", "pages")
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["*AssertionError: 02-zoh: refused", "*ssm_out: *", "*M34 no_d: *", "*fix: add the skip*"])
    result.stdout.fnmatch_lines(["hungry_hippos: 3 reports in pages"])
    pages = sorted((pytester.path / "pages").iterdir())
    assert len(pages) == 3 and "02-zoh" in pages[1].name
    assert [b"M34" in page.read_bytes().split(b"What the verdict excludes")[0] for page in pages] == [False, True, False]


FIVE_LINES = """
from hungry_hippos import assert_right, suite
def test_port():
    golden = suite()["03-heads"]
    assert_right(golden, my_layer(golden.parameters, golden.input, golden.metadata))
"""


def test_three_mistakes_in_five_lines(pytester):
    """A port without two skips and with its heads laid out in the other order: all three are in the failure."""
    wrong = """
from hungry_hippos.examples.numpy_layer import layer
def my_layer(p, u, choices):
    return layer({**p, "D": 0 * p["D"], "ssm_k_D": 0 * p["ssm_k_D"]}, u, {**choices, "head_order": "hd2"})
"""
    pytester.makepyfile(wrong + FIVE_LINES)
    result = pytester.runpytest_subprocess()
    result.assert_outcomes(failed=1)
    named = [f"*{name}*" for name in ("M18 no_shift_d", "M34 no_d", "M24 head_out_perm")]
    result.stdout.fnmatch_lines_random(named)


def test_a_marker_of_no_case(pytester):
    pytester.makepyfile(PORT.replace("0[1-3]-*", "no-such-case"))
    result = pytester.runpytest_subprocess()
    assert result.ret != 0
    result.stdout.fnmatch_lines(["*no case of the golden suite matches its marker hippos*"])
