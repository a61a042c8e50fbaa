"""The pytest plugin: a fixture over the suite, and pages of the reports.

    @pytest.mark.hippos("*-heads*")            # every layer over whole sequences without it; sequence="packed", ...
    def test_port(hippos_golden):
        assert_right(hippos_golden, my_layer(hippos_golden))

``pytest --hippos-report DIR`` writes a page for every check of ``assert_right``.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest


def pytest_addoption(parser: Any) -> None:
    group = parser.getgroup("hungry_hippos")
    group.addoption("--hippos-report", metavar="DIR", help="write a page for every check of assert_right into DIR")


def pytest_configure(config: Any) -> None:
    config.addinivalue_line(
        "markers", "hippos(pattern='*', kind='layer', sequence='whole'): the cases of the golden suite that hippos_golden runs over"
    )
    folder = config.getoption("--hippos-report")
    if folder:
        # Imported late: what loads with every run of pytest should be light.
        from . import _check

        pages = _Pages(Path(folder))
        _check.observers.append(pages)
        config.pluginmanager.register(pages, "hungry_hippos_pages")


def pytest_generate_tests(metafunc: Any) -> None:
    if "hippos_golden" in metafunc.fixturenames:
        from ._golden import suite

        marker = metafunc.definition.get_closest_marker("hippos")
        arguments, choices = (marker.args, marker.kwargs) if marker else ((), {})
        cases = suite().select(*arguments, **{"kind": "layer", "sequence": "whole", **choices})
        if not cases:
            raise pytest.UsageError(f"{metafunc.definition.nodeid}: no case of the golden suite matches its marker hippos")
        metafunc.parametrize("hippos_golden", cases, ids=[case.name for case in cases])


class _Pages:
    """Writes every report as a page named after the test that made it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.written: set[Path] = set()
        folder.mkdir(parents=True, exist_ok=True)

    def __call__(self, golden: Any, report: Any) -> None:
        test = os.environ.get("PYTEST_CURRENT_TEST", golden.name).rsplit(" ", 1)[0]
        name = re.sub(r"[^\w.-]+", "-", test.replace("::", "-")).strip("-")[-180:]
        path, count = self.folder / f"{name}.html", 1
        while path in self.written:
            count += 1
            path = self.folder / f"{name}-{count}.html"
        self.written.add(path)
        report.save(path)

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        terminalreporter.write_line(f"hungry_hippos: {len(self.written)} reports in {self.folder}")
