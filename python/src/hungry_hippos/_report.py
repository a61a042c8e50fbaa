"""The report of a check."""

from __future__ import annotations

import html
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_SCHEMA = "hippos-check/2"


@dataclass(frozen=True)
class Mistake:
    """A known mistake: its entry in the catalogue, what is computed instead of what, and the fix."""

    id: str
    name: str
    formula: str
    fix: str


@dataclass(frozen=True)
class Suspect:
    """Known mistakes that explain a stage: one, or two made in the same step.

    ``share`` of the error that they explain; ``of_tolerance``, what is left over the tolerance.
    """

    mistakes: tuple[Mistake, ...]
    share: float
    of_tolerance: float


@dataclass(frozen=True)
class Finding:
    """What is wrong in one step: the stage, the error in words, and what explains it, the closest first."""

    stage: str
    pattern: str
    reproduced: bool
    suspects: tuple[Suspect, ...]
    also_at: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"{self.stage}: {self.pattern}"]
        for suspect in self.suspects[:1]:
            for mistake in suspect.mistakes:
                lines += [f"  {mistake.id} {mistake.name}: {mistake.formula}", f"  fix: {mistake.fix}"]
        return "\n".join(lines if self.suspects else [*lines, "  no known mistake explains it"])


@dataclass(frozen=True)
class Stage:
    """The judgement of one stage.

    ``verdict`` is pass, fail, follows (wrong only because a stage before it is) or undecided; ``of_tolerance`` the
    largest error over its tolerance, ``own_step`` the same for the step as computed from the port's own stages;
    ``at`` the index of the worst element, ``golden`` and ``candidate`` the numbers there. Numbers that are not
    finite are NaN.
    """

    name: str
    verdict: str
    of_tolerance: float
    own_step: float
    bits: float
    at: tuple[int, ...]
    golden: float
    candidate: float
    note: str | None


@dataclass(frozen=True)
class Report:
    """The report of a check; ``str`` is what the command prints, a notebook shows the page."""

    verdict: str
    dtype: str
    stages: tuple[Stage, ...]
    findings: tuple[Finding, ...]
    not_excluded: tuple[str, ...] | None
    absent: tuple[str, ...]
    unknown: tuple[str, ...]
    precision: tuple[str, ...]
    text: str = field(repr=False)
    html: str = field(repr=False)
    json: dict[str, Any] = field(repr=False)

    @property
    def passed(self) -> bool:
        """True if every stage passes."""
        return self.verdict == "pass"

    @property
    def suspects(self) -> tuple[Mistake, ...]:
        """The known mistakes that explain the findings best, in the order of computation."""
        first = (finding.suspects[0] for finding in self.findings if finding.suspects)
        return tuple(mistake for suspect in first for mistake in suspect.mistakes)

    def save(self, path: str | Path) -> None:
        """Writes the page."""
        Path(path).write_text(self.html, encoding="utf-8")

    def __getitem__(self, stage: str) -> Stage:
        """The judgement of a stage."""
        for found in self.stages:
            if found.name == stage:
                return found
        raise KeyError(stage)

    def __str__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        # A frame, so that the page's styles and the notebook's leave each other alone.
        return f'<iframe srcdoc="{html.escape(self.html)}" style="width:100%;height:640px;border:0"></iframe>'


def read(text: str, page: str) -> Report:
    """The report of the command's JSON and page."""
    found = json.loads(text)
    if found.get("schema") != _SCHEMA:
        raise ValueError(f"the command prints {found.get('schema')!r}, not {_SCHEMA!r}: it is of another version")

    def number(x: float | None) -> float:
        return float("nan") if x is None else x

    stages = tuple(
        Stage(
            name=stage["name"],
            verdict=stage["verdict"],
            of_tolerance=number(stage["of_tolerance"]),
            own_step=number(stage["own_step"]),
            bits=number(stage["bits"]),
            at=tuple(stage["at"]),
            golden=number(stage["golden"]),
            candidate=number(stage["candidate"]),
            note=stage["note"],
        )
        for stage in found["stages"]
    )
    findings = tuple(
        Finding(
            stage=finding["stage"],
            pattern=finding["pattern"],
            reproduced=finding["reproduced"],
            suspects=tuple(
                Suspect(
                    tuple(Mistake(**mistake) for mistake in suspect["mistakes"]),
                    number(suspect["share"]),
                    number(suspect["of_tolerance"]),
                )
                for suspect in finding["suspects"]
            ),
            also_at=tuple(finding["also_at"]),
        )
        for finding in found["findings"]
    )
    power = found["power"]
    return Report(
        verdict=found["verdict"],
        dtype=found["dtype"],
        stages=stages,
        findings=findings,
        not_excluded=None if power is None else tuple(power["not_excluded"]),
        absent=tuple(found["absent"]),
        unknown=tuple(found["unknown"]),
        precision=tuple(found["precision"]),
        text=found.pop("text"),
        html=page,
        json=found,
    )
