"""Arrays of NumPy, PyTorch, JAX and whatever becomes a NumPy array, as files hold them."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from ._errors import ArrayError
from ._files import Stored

_FLOATS = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16"}
_INTEGERS = {"int64": "I64", "int32": "I32"}


def stored(name: str, array: Any, integers: bool = False) -> Stored:
    """The array as it is, bit for bit, in row-major order; a complex one as pairs of real and imaginary part on a
    new last axis. Tensors on other devices are copied.

    Raises ArrayError for types that cannot be judged, and for what is no array.
    """
    if isinstance(array, Stored):
        return array
    known = {**_FLOATS, **_INTEGERS} if integers else _FLOATS
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(array, torch.Tensor):
        array, dtype = _of_torch(torch, name, array)
    else:
        if not hasattr(array, "shape") or not hasattr(array, "dtype"):
            raise ArrayError(f"{name!r} is a {type(array).__name__}; expected an array of NumPy, PyTorch or JAX")
        try:
            array = np.asarray(array)
        except Exception as why:
            if "Tracer" in type(why).__name__ or "Tracer" in type(array).__name__:
                hint = "it has no values while a function is traced: name it by hungry_hippos.jax.tap"
            else:
                hint = "copy it to the host first, as a NumPy array"
            raise ArrayError(f"{name!r} ({type(array).__name__}) does not become a NumPy array; {hint}") from why
        if array.dtype.kind == "c":
            if array.dtype.itemsize not in (8, 16):
                raise ArrayError(f"{name!r} is {array.dtype}; expected complex64 or complex128")
            array = np.stack([array.real, array.imag], axis=-1)
        dtype = array.dtype.name
        if dtype == "bfloat16":
            array = array.view(np.uint16)
    if dtype not in known:
        more = "" if integers else ", or complex"
        raise ArrayError(f"{name!r} is {dtype}; expected {', '.join(known)}{more}")
    return Stored(known[dtype], array)


def _of_torch(torch: Any, name: str, tensor: Any) -> tuple[np.ndarray, str]:
    if tensor.layout != torch.strided or tensor.is_quantized:
        kind = "quantized" if tensor.is_quantized else str(tensor.layout)
        raise ArrayError(f"{name!r} is {kind}; expected a dense tensor")
    if tensor.device.type == "meta":
        raise ArrayError(f"{name!r} is on the device meta, which holds no values")
    tensor = tensor.detach().resolve_conj().resolve_neg()
    if tensor.is_complex():
        if tensor.dtype not in (torch.complex64, torch.complex128):
            raise ArrayError(f"{name!r} is {tensor.dtype}; expected torch.complex64 or torch.complex128")
        tensor = torch.view_as_real(tensor)
    tensor = tensor.cpu().contiguous()
    dtype = str(tensor.dtype).removeprefix("torch.")
    if dtype == "bfloat16":
        return tensor.view(torch.int16).numpy().view(np.uint16), dtype
    if dtype not in {**_FLOATS, **_INTEGERS}:
        return np.empty(0), dtype
    return tensor.numpy(), dtype
