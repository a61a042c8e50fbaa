"""The command that the wheel ships, found and run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Sequence

from ._errors import BinaryNotFound, HipposError


def binary() -> Path:
    """The command ``hippos``: what the environment variable HIPPOS names, or else what was installed next to this
    module, or else what is on the path.

    Raises BinaryNotFound.
    """
    name = "hippos.exe" if os.name == "nt" else "hippos"
    asked = os.environ.get("HIPPOS")
    if asked:
        if not os.access(asked, os.X_OK):
            raise BinaryNotFound(f"the environment variable HIPPOS is {asked!r}, which is no program that can be run")
        return Path(asked)
    folders = [sysconfig.get_path("scripts"), str(Path(sys.executable).parent)]
    user = sysconfig.get_path("scripts", f"{os.name}_user")
    for folder in filter(None, [*folders, user]):
        if os.access(Path(folder) / name, os.X_OK):
            return Path(folder) / name
    found = shutil.which(name)
    if found is None:
        raise BinaryNotFound(
            f"the command {name} is neither in {' nor in '.join(folders)} nor on the path: install the wheel again, or "
            "build it (cargo build --release) and set the environment variable HIPPOS to it"
        )
    return Path(found)


def run(arguments: Sequence[str | Path], accepted: Sequence[int] = (0,)) -> str:
    """What the command prints.

    Raises HipposError with what the command has to say where it ends with another status than those accepted, or
    prints nothing.
    """
    command = [str(binary()), *map(str, arguments)]
    result = subprocess.run(command, text=True, encoding="utf-8", capture_output=True, check=False)
    if result.returncode not in accepted or not result.stdout:
        said = result.stderr.strip() or result.stdout.strip() or f"ended with status {result.returncode}"
        raise HipposError(said.removeprefix("hippos: "))
    return result.stdout
