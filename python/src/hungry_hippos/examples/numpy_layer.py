"""The H3 layer in NumPy, every stage by its name, from official parameters and from a state.

    from hungry_hippos import check, suite
    from hungry_hippos.examples.numpy_layer import layer

    golden = suite()["03-heads"]
    print(check(golden, layer(golden.parameters, golden.input, golden.metadata)))

It works in float32: kernels, and convolutions by FFT; states by recurrence. ``served(golden)`` is the same of packed or padded
documents, each alone.
"""

from __future__ import annotations

from typing import Mapping

import numpy as np

from .._golden import Golden
from ._documents import documents_of

Array = np.ndarray


def paired(x: Array) -> Array:
    """Complex numbers of pairs on the last axis."""
    return x[..., 0] + 1j * x[..., 1]


def discrete(p: Mapping[str, Array], choices: Mapping[str, str]) -> tuple[Array, Array]:
    """Poles a and input weights b of every head's diagonal model, (H, modes) each."""
    x = p["kernel.kernel.inv_A_real"]
    real = {
        "exp": lambda: -np.exp(x),
        "none": lambda: -x,
        "relu": lambda: -np.maximum(x, 0) - np.float32(1e-4),
        "sigmoid": lambda: -1 / (1 + np.exp(-x)),
        "softplus": lambda: -np.logaddexp(x, np.float32(0)),
    }[choices["real_type"]]()
    lam, b = real + 1j * p["kernel.kernel.A_imag"], paired(p["kernel.kernel.B"])
    dt = np.exp(p["kernel.kernel.log_dt"])[:, None]
    share = np.arange(len(dt)) % len(lam)  # head h has model h mod n_ssm
    lam, b = lam[share], b[share]
    z = dt * lam
    if choices["disc"] == "zoh":
        return np.exp(z), b * expm1(z) / lam
    return (1 + z / 2) / (1 - z / 2), b * dt / (1 - z / 2)


def expm1(z: Array) -> Array:
    """e^z - 1 without cancellation at small z."""
    half = np.sin(z.imag / 2)
    return np.expm1(z.real) * np.cos(z.imag) - 2 * half * half + 1j * np.exp(z.real) * np.sin(z.imag)


def convolve(u: Array, f: Array) -> Array:
    """The first L of f * u along the last axis, padded so that nothing wraps around."""
    n = u.shape[-1] + f.shape[-1]
    return np.fft.irfft(np.fft.rfft(u, n) * np.fft.rfft(f, n), n)[..., : u.shape[-1]].astype(u.dtype)


def layer(p: Mapping[str, Array], u: Array, choices: Mapping[str, str], states: Mapping[str, Array] = {}) -> dict[str, Array]:
    """Every stage of the layer for an input (B, L, d); ``states`` are initial_state_k and initial_state, or neither."""
    p = {name: x.astype(np.float32) for name, x in {**p, **states}.items()}
    u = u.astype(np.float32)
    (batch, length, d), d_h = u.shape, int(choices["head_dim"])
    heads = d // d_h
    window = length if choices["l_max"] == "none" else min(length, int(choices["l_max"]))
    s = {n: (u @ p[f"{n}_proj.weight"].T + p[f"{n}_proj.bias"]).swapaxes(1, 2) for n in "qkv"}

    # The shift model. Its kernel is the correlation of C with B: f_j = sum_n C_n B_(n-j).
    b, c = p["ssm_k_kernel.kernel.B"], p["ssm_k_kernel.kernel.C"][0]
    m = b.shape[-1]
    kernel = np.zeros((d, window), np.float32)
    for j in range(min(m, window)):
        kernel[:, j] = (c[:, j:] * b[:, : m - j]).sum(-1)
    s["shift_kernel"] = kernel
    shift_k = convolve(s["k"], kernel) + p["ssm_k_D"][:, None] * s["k"]
    x = p.get("initial_state_k", np.zeros((batch, d, m), np.float32))
    for t in range(length):
        x = np.concatenate([np.zeros_like(x[..., :1]), x[..., :-1]], -1)  # A x
        if "initial_state_k" in p and t < m:
            carried = p["initial_state_k"][..., : m - 1 - t]
            shift_k[..., t] += (c[:, t + 1 :] * carried).sum(-1)
        x = x + b * s["k"][..., t, None]
    s["shift_k"], s["final_state_k"] = shift_k, x

    # Outer products of the heads: (B, d1, d2, H, L).
    by_head = lambda x: x.reshape(batch, heads, d_h, length)
    s["kv"] = np.einsum("bhil,bhjl->bijhl", by_head(shift_k), by_head(s["v"]))

    # The diagonal model: 2 Re of one of each pair of conjugate modes.
    a, b = discrete(p, choices)
    c = paired(p["kernel.kernel.C"][0])
    powers = np.exp(np.log(a)[..., None] * np.arange(length + 1, dtype=np.float32))  # a^0 to a^L
    s["ssm_kernel"] = 2 * np.einsum("hn,hnl->hl", c * b, powers[..., :window]).real
    ssm_out = convolve(s["kv"], s["ssm_kernel"]) + p["D"][:, None] * s["kv"]
    x = np.einsum("hn,hnl,bijhl->bijhn", b, powers[..., length - 1 :: -1], s["kv"])
    if "initial_state" in p:
        initial = paired(p["initial_state"]).reshape(x.shape)
        ssm_out += 2 * np.einsum("hn,hnl,bijhn->bijhl", c, powers[..., 1:], initial).real
        x = x + powers[..., length] * initial
    s["ssm_out"] = ssm_out
    s["final_state"] = np.stack([x.real, x.imag], -1).reshape(batch * d_h * d_h, heads, -1, 2)

    # Each head's channels of the query pick among its rows.
    gated = np.einsum("bhil,bijhl->bjhl", by_head(s["q"]), ssm_out)
    if choices.get("head_order", "d2h") == "hd2":
        gated = gated.swapaxes(1, 2)
    s["gated"] = gated.reshape(batch, d, length).swapaxes(1, 2)
    s["output"] = s["gated"] @ p["output_linear.weight"].T + p["output_linear.bias"]
    return s


def served(golden: Golden) -> dict[str, Array]:
    """Every stage of a golden file with documents in its rows: those of each document alone, in its place; final states one
    after another."""
    u, d_h = golden.input, int(golden.metadata["head_dim"])
    parts = documents_of(golden, u)
    s: dict[str, Array] = {}
    finals: dict[str, list[Array]] = {"final_state_k": [], "final_state": []}
    for n, (row, begin, end) in enumerate(parts):
        each = {"initial_state_k": 1, "initial_state": d_h * d_h}  # states per document
        states = {name: golden[name][n * each[name] : (n + 1) * each[name]] for name in each if name in golden}
        for name, x in layer(golden.parameters, u[row : row + 1, begin:end], golden.metadata, states).items():
            if name in finals:
                finals[name].append(x)
            elif name.endswith("_kernel"):
                s[name] = max(s.get(name, x), x, key=lambda kernel: kernel.shape[-1])  # of the longest document
            elif name in ("gated", "output"):
                s.setdefault(name, np.zeros(u.shape, x.dtype))[row, begin:end] = x[0]
            else:
                s.setdefault(name, np.zeros((len(u), *x.shape[1:-1], u.shape[1]), x.dtype))[row, ..., begin:end] = x[0]
    return {**s, **{name: np.concatenate(states) for name, states in finals.items()}}
