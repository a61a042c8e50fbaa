"""SSD and the Mamba-2 layer in NumPy, every stage by its name, by recurrence: from states, over documents, token by token.

    from hungry_hippos import check, suite
    from hungry_hippos.examples.numpy_mamba2 import layer_of, ssd_of

    print(check("80-ssd", ssd_of(suite()["80-ssd"])))
    print(check("84-mamba2", layer_of(suite()["84-mamba2"])))
"""

from __future__ import annotations

from typing import Mapping

import numpy as np

from .._golden import Golden

Array = np.ndarray


def documents(golden: Golden, length: int) -> list[tuple[slice, int, int]]:
    """Rows, first token and end of every sequence: all rows at once, or one after another those packed into the one row."""
    if "cu_seqlens" not in golden:
        return [(slice(None), 0, length)]
    bounds = golden["cu_seqlens"]
    return [(slice(0, 1), int(begin), int(end)) for begin, end in zip(bounds, bounds[1:])]


def ssd(x: Array, dt: Array, log_a: Array, B: Array, C: Array, D: Array | None, state: Array) -> tuple[Array, Array]:
    """y (B, L, H, P), without D if there is none, and the state (B, H, P, N) after the last token.

    x (B, L, H, P), dt (B, L, H), log_a (B, L, H) or (B, L, H, N), B and C (B, L, G, N); head h has group h // (H / G).
    """
    heads, groups = x.shape[2], B.shape[2]
    B, C = (np.repeat(z, heads // groups, axis=2) for z in (B, C))
    decay = np.exp(log_a)
    decay = decay[..., None, None] if log_a.ndim == 3 else decay[..., None, :]
    y = np.empty_like(x)
    for t in range(x.shape[1]):
        state = decay[:, t] * state + (dt[:, t, :, None] * x[:, t])[..., None] * B[:, t, :, None]
        y[:, t] = (state * C[:, t, :, None]).sum(-1)  # the output reads the state after the update
    return (y if D is None else y + D.reshape(heads, -1) * x), state


def ssd_of(golden: Golden) -> dict[str, Array]:
    """The stages of a golden file of kind ``ssd``."""
    given = {name: golden[name].astype(np.float32) for name in ("x", "dt", "log_a", "B", "C", "D", "initial_state") if name in golden}
    x, log_a, B, C = (given[name] for name in ("x", "log_a", "B", "C"))
    dt = given.get("dt", np.ones(x.shape[:3], np.float32))
    parts = documents(golden, x.shape[1])
    count = x.shape[0] if len(parts) == 1 else len(parts)
    initial = given.get("initial_state", np.zeros((count, *x.shape[2:], B.shape[-1]), np.float32))
    ys, states = [], []
    for n, (rows, begin, end) in enumerate(parts):
        own = initial if len(parts) == 1 else initial[n : n + 1]
        y, state = ssd(*(z[rows, begin:end] for z in (x, dt, log_a, B, C)), given.get("D"), own)
        ys.append(y)
        states.append(state)
    return {"y": np.concatenate(ys, 1), "final_state": np.concatenate(states)}


def silu(x: Array) -> Array:
    return x / (1 + np.exp(-x))


def layer(
    p: Mapping[str, Array], u: Array, choices: Mapping[str, str], conv_state: Array, ssm_state: Array
) -> dict[str, Array]:
    """Every stage of the layer for an input (B, L, d), from the last K columns before the convolution (B, channels, K) and
    the state (B, H, P, N) of the tokens before."""
    (batch, length, _), heads = u.shape, len(p["dt_bias"])
    head_dim, groups = int(choices["headdim"]), int(choices["ngroups"])
    d_ssm = heads * head_dim
    channels, _, K = p["conv1d.weight"].shape
    d_mlp = p["out_proj.weight"].shape[1] - d_ssm
    state_dim = (channels - d_ssm) // 2 // groups
    s = {"zxbcdt": u @ p["in_proj.weight"].T + p.get("in_proj.bias", np.float32(0))}
    z0, x0, z, xBC, dt = np.split(s["zxbcdt"], np.cumsum([d_mlp, d_mlp, d_ssm, channels]), axis=-1)

    # The last tap meets the present; K columns are kept, of which a step uses K - 1.
    seen = np.concatenate([conv_state, xBC.transpose(0, 2, 1)], -1)
    s["conv_state"] = seen[..., -K:]
    seen = seen[..., 1:]
    conv = sum(p["conv1d.weight"][:, 0, j, None] * seen[..., j : j + length] for j in range(K))
    if "conv1d.bias" in p:
        conv = conv + p["conv1d.bias"][:, None]
    s["xBC_conv"] = silu(conv).transpose(0, 2, 1)
    x, B, C = np.split(s["xBC_conv"], [d_ssm, d_ssm + groups * state_dim], axis=-1)
    x = x.reshape(batch, length, heads, head_dim)
    B, C = (w.reshape(batch, length, groups, state_dim) for w in (B, C))

    low, high = map(float, choices["dt_limit"].split(","))
    v = dt + p["dt_bias"]
    s["dt"] = np.clip(np.where(v > 20, v, np.log1p(np.exp(np.minimum(v, 20)))), low, high).astype(u.dtype)
    log_a = -np.exp(p["A_log"]) * s["dt"]
    s["a"] = np.exp(log_a)
    s["y"], s["ssm_state"] = ssd(x, s["dt"], log_a, B, C, None, ssm_state)
    s["y_d"] = s["y"] + p["D"].reshape(heads, -1) * x

    o = s["y_d"].reshape(batch, length, d_ssm)
    before = choices.get("norm_before_gate") == "true"
    if not before:
        o = s["gated"] = o * silu(z)
    if "norm.weight" in p:
        of_groups = o.reshape(batch, length, int(choices["norm_groups"]), -1)
        eps = np.float32(choices["norm_eps"])
        o = of_groups / np.sqrt((of_groups**2).mean(-1, keepdims=True) + eps)
        o = o.reshape(batch, length, d_ssm) * p["norm.weight"]
        o = s["normed"] = o * silu(z) if before else o
    elif before:
        o = o * silu(z)
    if d_mlp:
        o = np.concatenate([silu(z0) * x0, o], -1)
    s["output"] = o @ p["out_proj.weight"].T + p.get("out_proj.bias", np.float32(0))
    return s


def layer_of(golden: Golden) -> dict[str, Array]:
    """The stages of a golden file of kind ``mamba2``, of the tokens that follow one by one too."""
    p = {name: x.astype(np.float32) for name, x in golden.parameters.items()}
    u, choices = golden.input.astype(np.float32), golden.metadata
    parts = documents(golden, u.shape[1])
    count = u.shape[0] if len(parts) == 1 else len(parts)
    channels, _, K = p["conv1d.weight"].shape
    shape = {"conv_state": (channels, K), "ssm_state": golden["ssm_state"].shape[1:]}
    states = {
        name: golden[f"initial_{name}"].astype(np.float32) if f"initial_{name}" in golden else np.zeros((count, *own), np.float32)
        for name, own in shape.items()
    }
    of_parts = []
    for n, (rows, begin, end) in enumerate(parts):
        own = {name: x if len(parts) == 1 else x[n : n + 1] for name, x in states.items()}
        of_parts.append(layer(p, u[rows, begin:end], choices, **own))
    # States stand one after another, all else in its place in the row.
    s = {name: np.concatenate([part[name] for part in of_parts], 0 if name in shape else 1) for name in of_parts[0]}
    if "step_input" in golden:
        outputs, own = [], {name: s[name] for name in shape}
        for token in golden["step_input"].astype(np.float32).transpose(1, 0, 2):
            step = layer(p, token[:, None], choices, **own)
            outputs.append(step["output"])
            own = {name: step[name] for name in shape}
        s["step_output"] = np.concatenate(outputs, 1)
        s.update({f"step.{name}": x for name, x in own.items()})
    return s
