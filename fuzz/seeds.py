"""Writes the files the fuzzers begin from: seeds.py OUT (folders OUT/safetensors, OUT/case, OUT/check)."""

import json
import struct
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
PARAMETERS = ("q_proj.", "k_proj.", "v_proj.", "output_linear.", "ssm_k_", "kernel.", "D", "input", "initial_", "g")


def read(path):
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + length])
    data = raw[8 + length :]
    strings = header.pop("__metadata__", {})
    tensors = {k: (t["dtype"], t["shape"], data[slice(*t["data_offsets"])]) for k, t in header.items()}
    return strings, tensors


def file(strings, tensors):
    header, data = ({"__metadata__": strings} if strings else {}), b""
    for name, (dtype, shape, content) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header, separators=(",", ":")).encode()
    return struct.pack("<Q", len(text)) + text + data


def narrowed(tensors):
    def f32(content):
        values = struct.unpack(f"<{len(content) // 8}d", content)
        return struct.pack(f"<{len(values)}f", *values)

    return {k: ("F32", s, f32(c)) if d == "F64" else (d, s, c) for k, (d, s, c) in tensors.items()}


def main(out):
    for target in ("safetensors", "case", "check"):
        (out / target).mkdir(parents=True, exist_ok=True)
    sizes = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "U8": 1, "BOOL": 1, "I32": 4, "F8_E4M3": 1, "C64": 8}
    for dtype, size in sizes.items():
        content = bytes(range(6 * size))
        (out / "safetensors" / dtype).write_bytes(file({"a": "\u00e9\n"}, {"w": (dtype, [2, 3], content)}))
    several = {"a": ("F32", [], bytes(4)), "b\n": ("I64", [0, 7], b""), "c": ("F16", [1, 2], bytes(4))}
    (out / "safetensors" / "several").write_bytes(file({}, several))
    golden = ROOT / "tests" / "golden" / "v1"
    small = ["11-one", "12-two", "29-one-channel", "38-stream", "06-shared", "09-cut-short", "24-resumed", "31-shift-alone"]
    for name in small:
        strings, tensors = read(golden / f"{name}.safetensors")
        (out / "case" / name).write_bytes(file(strings, tensors))
        kept = {k: t for k, t in tensors.items() if k.startswith(PARAMETERS) and not k.startswith("grad")}
        (out / "case" / f"{name}-plain").write_bytes(file(strings, kept))
        (out / "case" / f"{name}-f32").write_bytes(file(strings, narrowed(kept)))
    strings, tensors = read(golden / "29-one-channel.safetensors")
    stages = {k: t for k, t in tensors.items() if f"scale.{k}" in tensors}
    (out / "check" / "all").write_bytes(file({}, stages))
    (out / "check" / "all-f32").write_bytes(file({}, narrowed(stages)))
    (out / "check" / "whole").write_bytes(file(strings, tensors))
    for name in stages:
        (out / "check" / name).write_bytes(file({}, {name: stages[name]}))


main(Path(sys.argv[1]))
