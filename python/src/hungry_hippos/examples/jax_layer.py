"""The H3 layer in JAX, by recurrences (``scan``), its stages named by ``tap``; from states, over documents in its rows.

    from hungry_hippos import check, suite
    from hungry_hippos.examples.jax_layer import layer, of
    from hungry_hippos.jax import taps

    golden = suite()["03-heads"]
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

CHOICES = ("head_dim", "disc", "real_type", "l_max", "head_order")


def paired(x: jax.Array) -> jax.Array:
    """Complex numbers of pairs on the last axis."""
    return jax.lax.complex(x[..., 0], x[..., 1])


def discrete(p: dict[str, jax.Array], choices: dict[str, str]) -> tuple[jax.Array, jax.Array]:
    """Poles a and input weights b of every head's diagonal model, (H, modes) each."""
    x = p["kernel.kernel.inv_A_real"]
    real = {
        "exp": lambda: -jnp.exp(x),
        "none": lambda: -x,
        "relu": lambda: -jax.nn.relu(x) - 1e-4,
        "sigmoid": lambda: -jax.nn.sigmoid(x),
        "softplus": lambda: -jax.nn.softplus(x),
    }[choices["real_type"]]()
    lam, b = jax.lax.complex(real, p["kernel.kernel.A_imag"]), paired(p["kernel.kernel.B"])
    dt = jnp.exp(p["kernel.kernel.log_dt"])[:, None]
    share = jnp.arange(len(dt)) % len(lam)  # head h has model h mod n_ssm
    lam, b = lam[share], b[share]
    z = dt * lam
    if choices["disc"] == "zoh":
        return jnp.exp(z), b * jnp.expm1(z) / lam
    return (1 + z / 2) / (1 - z / 2), b * dt / (1 - z / 2)


def recur(step: Any, initial: jax.Array, inputs: jax.Array, documents: Documents) -> tuple[jax.Array, jax.Array]:
    """The last state of every document and the outputs of a model, ``inputs`` and outputs with time on the last axis.

    A document's first token finds the state that it begins with; what stands beside documents moves states that nobody
    looks at."""
    place, since = places(documents, inputs.shape[0], inputs.shape[-1])

    def token(x: jax.Array, now: Any) -> tuple[jax.Array, Any]:
        begins, own, value = now
        x, y = step(jnp.where(begins.reshape(-1, *[1] * (x.ndim - 1)), initial[own], x), value)
        return x, (x, y)

    begins = (since == 0).T, place.T
    _, (states, outputs) = jax.lax.scan(token, jnp.zeros_like(initial[place[:, 0]]), (*begins, jnp.moveaxis(inputs, -1, 0)))
    rows, _, ends = np.array(documents).T
    return states[ends - 1, rows], jnp.moveaxis(outputs, 0, -1)


@partial(jax.jit, static_argnums=(2, 3))
def layer(p: dict[str, jax.Array], u: jax.Array, options: tuple[tuple[str, str], ...], documents: Documents) -> jax.Array:
    """The layer's output for an input (B, L, d) with documents (row, first token, end); ``p`` holds parameters, and the states
    before the documents if there are some. No recurrence has a kernel that ends, so ``l_max`` below the longest is refused."""
    choices = dict(options)
    (batch, length, d), d_h = u.shape, int(choices["head_dim"])
    heads, longest = d // d_h, max(end - begin for _, begin, end in documents)
    if choices["l_max"] != "none" and int(choices["l_max"]) < longest:
        raise ValueError(f"l_max {choices['l_max']} cuts the kernels of {longest} tokens, which no recurrence does")
    q, k, v = (tap(n, (u @ p[f"{n}_proj.weight"].T + p[f"{n}_proj.bias"]).swapaxes(1, 2)) for n in "qkv")

    b, c = p["ssm_k_kernel.kernel.B"], p["ssm_k_kernel.kernel.C"][0]

    def shift(x: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        x = jnp.pad(x[..., :-1], ((0, 0), (0, 0), (1, 0))) + b * key[..., None]
        return x, (c * x).sum(-1)

    x = p.get("initial_state_k", jnp.zeros((len(documents), *b.shape), u.dtype))
    x, shifted = recur(shift, x, k, documents)
    tap("final_state_k", x)
    shift_k = tap("shift_k", shifted + p["ssm_k_D"][:, None] * k)

    by_head = lambda x: x.reshape(batch, heads, d_h, length)
    kv = tap("kv", jnp.einsum("bhil,bhjl->bijhl", by_head(shift_k), by_head(v)))

    a, b = discrete(p, choices)
    c = paired(p["kernel.kernel.C"][0])

    def diagonal(x: jax.Array, kv: jax.Array) -> tuple[jax.Array, jax.Array]:
        x = a * x + b * kv[..., None]
        return x, 2 * (c * x).sum(-1).real

    shape = (len(documents), d_h, d_h, *a.shape)
    x = paired(p["initial_state"]).reshape(shape) if "initial_state" in p else jnp.zeros(shape, a.dtype)
    x, remembered = recur(diagonal, x, kv, documents)
    tap("final_state", x.reshape(-1, *a.shape))
    ssm_out = tap("ssm_out", remembered + p["D"][:, None] * kv)

    gated = jnp.einsum("bhil,bijhl->bjhl", by_head(q), ssm_out)
    if choices.get("head_order", "d2h") == "hd2":
        gated = gated.swapaxes(1, 2)
    gated = tap("gated", gated.reshape(batch, d, length).swapaxes(1, 2))
    return tap("output", gated @ p["output_linear.weight"].T + p["output_linear.bias"])


def of(golden: Golden) -> tuple[dict[str, jax.Array], jax.Array, tuple[tuple[str, str], ...], Documents]:
    """The arguments of ``layer`` for a golden file."""
    states = {name: golden[name] for name in ("initial_state_k", "initial_state") if name in golden}
    p = {name: jnp.asarray(x, jnp.float32) for name, x in {**golden.parameters, **states}.items()}
    choices = tuple((name, golden.metadata[name]) for name in CHOICES if name in golden.metadata)
    return p, jnp.asarray(golden.input, jnp.float32), choices, documents_of(golden, golden.input)
