"""Safetensors files, read and written bit for bit: also bfloat16, which NumPy does not know."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Mapping, NamedTuple

import numpy as np

from ._errors import HipposError, UnknownName

#: The types of the format that cases, golden files and dumps are made of. BF16 is kept as its bits.
NUMPY = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4"}


class Stored(NamedTuple):
    """An array as a file holds it: a name of the format's types, and the elements, row-major."""

    dtype: str
    bits: np.ndarray


def write(path: Path, tensors: Mapping[str, Stored], metadata: Mapping[str, str] | None = None) -> None:
    """Writes a file."""
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    chunks, end = [], 0
    # The widest first, so that every tensor begins at a multiple of its own size.
    for name, (dtype, bits) in sorted(tensors.items(), key=lambda item: -item[1].bits.itemsize):
        data = np.ascontiguousarray(bits, NUMPY[dtype]).tobytes()
        header[name] = {"dtype": dtype, "shape": list(bits.shape), "data_offsets": [end, end + len(data)]}
        chunks.append(data)
        end += len(data)
    text = json.dumps(header, ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(chunks))


class File:
    """The tensors and metadata of a file, each tensor read where it is asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with open(path, "rb") as file:
                size = path.stat().st_size
                (length,) = struct.unpack("<Q", file.read(8))
                if length > size - 8:
                    raise ValueError(f"its header would be {length} bytes long")
                header = json.loads(file.read(length))
        except OSError as why:
            raise HipposError(f"{path}: {why.strerror}") from why
        except (ValueError, struct.error) as why:
            raise HipposError(f"{path}: is no safetensors file ({why})") from why
        self.metadata: dict[str, str] = header.pop("__metadata__", {})
        self._header, self._begin = header, 8 + length

    def names(self) -> list[str]:
        """The names of the tensors."""
        return list(self._header)

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor."""
        return tuple(self._entry(name)["shape"])

    def read(self, name: str) -> np.ndarray:
        """A tensor; BF16 as float32, which holds it exactly."""
        dtype, bits = self.stored(name)
        return (bits.astype("<u4") << 16).view("<f4") if dtype == "BF16" else bits

    def stored(self, name: str) -> Stored:
        """A tensor bit for bit."""
        entry = self._entry(name)
        if entry["dtype"] not in NUMPY:
            raise HipposError(f"{self.path}: tensor {name!r} is {entry['dtype']}; expected one of {', '.join(NUMPY)}")
        begin, end = entry["data_offsets"]
        with open(self.path, "rb") as file:
            file.seek(self._begin + begin)
            bits = np.frombuffer(file.read(end - begin), NUMPY[entry["dtype"]]).reshape(entry["shape"])
        return Stored(entry["dtype"], bits.copy())

    def _entry(self, name: str) -> dict:
        try:
            return self._header[name]
        except KeyError:
            raise UnknownName(f"{self.path}: holds no tensor {name!r}, but {', '.join(self.names())}") from None
