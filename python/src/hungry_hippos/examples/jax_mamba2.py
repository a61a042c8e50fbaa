"""SSD and the Mamba-2 layer in JAX, by a scan over tokens, its stages named by ``tap``; from states, over documents.

    from hungry_hippos import check, suite
    from hungry_hippos.examples.jax_mamba2 import layer, of
    from hungry_hippos.jax import taps

    golden = suite()["84-mamba2"]
    with taps() as stages:
        layer(*of(golden))
    print(check(golden, stages))
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._golden import Golden
from ..jax import tap
from ._documents import Documents, documents_of, places

# On accelerators products of matrices are in fewer bits otherwise.
jax.config.update("jax_default_matmul_precision", "highest")

CHOICES = ("headdim", "ngroups", "dt_limit", "norm_groups", "norm_eps", "norm_before_gate")
Arrays = dict[str, jax.Array]


def ssd(p: Arrays, documents: Documents) -> tuple[jax.Array, jax.Array]:
    """y (B, L, H, P) and the state (documents, H, P, N) after every document.

    ``p`` holds x (B, L, H, P), log_a (B, L, H) or (B, L, H, N), B and C (B, L, G, N), initial_state (documents, H, P, N), and
    where there are some dt (B, L, H) and D (H). Head h has group h // (H / G)."""
    x, heads = p["x"], p["x"].shape[2]
    B, C = (jnp.repeat(p[name], heads // p[name].shape[2], axis=2) for name in "BC")
    decay = jnp.exp(p["log_a"])
    decay = decay[..., None, None] if decay.ndim == 3 else decay[..., None, :]
    inputs = (x * p["dt"][..., None] if "dt" in p else x)[..., None] * B[..., None, :]
    place, since = places(documents, *x.shape[:2])

    def token(state: jax.Array, now: Any) -> tuple[jax.Array, Any]:
        begins, own, a, u, c = now
        state = jnp.where(begins[:, None, None, None], p["initial_state"][own], state)
        state = a * state + u
        return state, (state, (state * c[..., None, :]).sum(-1))

    by_token = lambda z: jnp.moveaxis(z, 1, 0)
    start = jnp.zeros_like(p["initial_state"][place[:, 0]])
    _, (states, y) = jax.lax.scan(token, start, ((since == 0).T, place.T, *map(by_token, (decay, inputs, C))))
    rows, _, ends = np.array(documents).T
    y = by_token(y)
    return (y + p["D"][:, None] * x if "D" in p else y), states[ends - 1, rows]


@partial(jax.jit, static_argnums=1)
def operator(p: Arrays, documents: Documents) -> jax.Array:
    """``ssd`` with its stages tapped."""
    y, state = ssd(p, documents)
    tap("final_state", state)
    return tap("y", y)


def of_ssd(golden: Golden) -> tuple[Arrays, Documents]:
    """The arguments of ``operator`` for a golden file."""
    names = ("x", "dt", "log_a", "B", "C", "D", "initial_state")
    p = {name: jnp.asarray(golden[name], jnp.float32) for name in names if name in golden}
    documents = documents_of(golden, p["x"])
    p.setdefault("initial_state", jnp.zeros((len(documents), *p["x"].shape[2:], p["B"].shape[-1]), jnp.float32))
    return p, documents


def convolved(p: Arrays, xBC: jax.Array, documents: Documents) -> tuple[jax.Array, jax.Array]:
    """The causal convolution, and the last K columns before it of every document, those of its state before its first."""
    K, length = p["conv1d.weight"].shape[-1], xBC.shape[1]
    place, since = places(documents, xBC.shape[0], length)
    columns = []
    for back in reversed(range(K)):  # the column that many tokens ago: of the row, or of the state
        shifted = jnp.pad(xBC, ((0, 0), (back, 0), (0, 0)))[:, :length]
        of_state = p["initial_conv_state"][place, :, np.clip(K + since - back, 0, K - 1)]
        columns.append(jnp.where((since >= back)[..., None], shifted, of_state))
    window = jnp.stack(columns, -1)
    rows, _, ends = np.array(documents).T
    out = (window * p["conv1d.weight"][:, 0]).sum(-1) + p.get("conv1d.bias", 0)
    return out, window[rows, ends - 1]


@partial(jax.jit, static_argnums=(2, 3))
def layer(p: Arrays, u: jax.Array, options: tuple[tuple[str, str], ...], documents: Documents) -> jax.Array:
    """The layer's output for an input (B, L, d) with documents (row, first token, end); ``p`` holds parameters and the states
    before the documents."""
    choices = dict(options)
    heads, groups = len(p["dt_bias"]), int(choices["ngroups"])
    d_ssm, channels = heads * int(choices["headdim"]), p["conv1d.weight"].shape[0]
    d_mlp = p["out_proj.weight"].shape[1] - d_ssm
    zxbcdt = tap("zxbcdt", u @ p["in_proj.weight"].T + p.get("in_proj.bias", 0))
    z0, x0, z, xBC, dt = jnp.split(zxbcdt, np.cumsum([d_mlp, d_mlp, d_ssm, channels]), axis=-1)
    conv, conv_state = convolved(p, xBC, documents)
    tap("conv_state", conv_state)
    xBC_conv = tap("xBC_conv", jax.nn.silu(conv))
    x, B, C = jnp.split(xBC_conv, [d_ssm, d_ssm + (channels - d_ssm) // 2], axis=-1)
    x, B, C = (w.reshape(*w.shape[:2], n, -1) for w, n in ((x, heads), (B, groups), (C, groups)))
    v = dt + p["dt_bias"]
    low, high = map(float, choices["dt_limit"].split(","))
    dt = tap("dt", jnp.clip(jnp.where(v > 20, v, jax.nn.softplus(v)), low, high))
    log_a = -jnp.exp(p["A_log"]) * dt
    tap("a", jnp.exp(log_a))
    y, state = ssd({"x": x, "dt": dt, "log_a": log_a, "B": B, "C": C, "initial_state": p["initial_ssm_state"]}, documents)
    tap("y", y)
    tap("ssm_state", state)
    y_d = tap("y_d", y + p["D"].reshape(heads, -1) * x)

    o, before = y_d.reshape(*u.shape[:2], d_ssm), choices.get("norm_before_gate") == "true"
    if not before:
        o = tap("gated", o * jax.nn.silu(z))
    if "norm.weight" in p:
        of_groups = o.reshape(*u.shape[:2], int(choices["norm_groups"]), -1)
        scale = jax.lax.rsqrt((of_groups**2).mean(-1, keepdims=True) + float(choices["norm_eps"]))
        o = (of_groups * scale).reshape(o.shape) * p["norm.weight"]
        o = tap("normed", o * jax.nn.silu(z) if before else o)
    elif before:
        o = o * jax.nn.silu(z)
    o = jnp.concatenate([jax.nn.silu(z0) * x0, o], -1) if d_mlp else o
    return tap("output", o @ p["out_proj.weight"].T + p.get("out_proj.bias", 0))


def of(golden: Golden) -> tuple[Arrays, jax.Array, tuple[tuple[str, str], ...], Documents]:
    """The arguments of ``layer`` for a golden file."""
    documents = documents_of(golden, golden.input)
    p = {name: jnp.asarray(x, jnp.float32) for name, x in golden.parameters.items()}
    channels, _, K = p["conv1d.weight"].shape
    for name, shape in {"conv_state": (channels, K), "ssm_state": golden["ssm_state"].shape[1:]}.items():
        held = f"initial_{name}" in golden
        state = golden[f"initial_{name}"] if held else np.zeros((len(documents), *shape))
        p[f"initial_{name}"] = jnp.asarray(state, jnp.float32)
    choices = tuple((name, golden.metadata[name]) for name in CHOICES if name in golden.metadata)
    return p, jnp.asarray(golden.input, jnp.float32), choices, documents
