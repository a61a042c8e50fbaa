"""The operators of the Hyena family, every stage by its name: one text for NumPy, PyTorch and JAX, which is given as ``xp``; over
whole sequences.

    import numpy as np
    from hungry_hippos import check, suite
    from hungry_hippos.examples.operators import run

    print(check("96-sh1", run(np, suite()["96-sh1"])))

With ``torch`` for ``xp`` it is differentiable; ``given`` says of which tensors.
"""

from __future__ import annotations

from typing import Any, Callable, Mapping

from .._golden import Golden

Array = Any
Arrays = dict[str, Any]


def convolve(xp: Any, u: Array, f: Array) -> Array:
    """The first L of f * u along the last axis; of kernels nothing beyond L is read, and nothing wraps around."""
    length = u.shape[-1]
    n = 2 * length
    return xp.fft.irfft(xp.fft.rfft(u, n) * xp.fft.rfft(f[..., :length], n), n)[..., :length]


def short(xp: Any, u: Array, taps: Array, bias: Array | None) -> Array:
    """A causal correlation of every channel (B, C, L) with its taps (C, 1, K), the last of which meets the present."""
    out = convolve(xp, u, xp.flip(taps[:, 0], (-1,)))
    return out if bias is None else out + bias[:, None]


def last(xp: Any, u: Array, count: int) -> Array:
    """The last columns, as many as there are."""
    return u[..., max(0, u.shape[-1] - count) :]


def convolution(xp: Any, p: Mapping[str, Array], choices: Mapping[str, str]) -> Arrays:
    """Between gates; D acts on what the first lets through."""
    u = p["u"] * p["pregate"] if "pregate" in p else p["u"]
    y = convolve(xp, u, p["k"])
    y = y + p["D"][:, None] * u if "D" in p else y
    return {"y": y * p["postgate"] if "postgate" in p else y}


def h3_operator(xp: Any, p: Mapping[str, Array], choices: Mapping[str, str]) -> Arrays:
    """The layer between its projections; channel h head_dim + i is that of head h."""
    heads, s = len(p["ssm_kernel"]), {}
    by_head = lambda x: x.reshape(x.shape[0], heads, -1, x.shape[-1])
    k = p["k"]
    if "shift_kernel" in p:
        k = convolve(xp, k, p["shift_kernel"]) + p["ssm_k_D"][:, None] * k
    s["shift_k"] = k
    s["kv"] = xp.einsum("bhil,bhjl->bijhl", by_head(k), by_head(p["v"]))
    s["ssm_out"] = convolve(xp, s["kv"], p["ssm_kernel"]) + p["D"][:, None] * s["kv"]
    order = "bhjl" if choices.get("head_order", "hd2") == "hd2" else "bjhl"
    s["gated"] = xp.einsum(f"bhil,bijhl->{order}", by_head(p["q"]), s["ssm_out"]).reshape(k.shape)
    return s


def filters(xp: Any, p: Mapping[str, Array], choices: Mapping[str, str], length: int) -> Array:
    """Hyena's implicit filters (order - 1, head_dim, length)."""
    order, x, layer = int(choices["order"]), p["filter_fn.pos_emb.z"][0, :length], 0
    network = lambda place, part: p[f"filter_fn.implicit_filter.{place}.{part}"]
    while f"filter_fn.implicit_filter.{layer + 1}.freq" in p:
        # One frequency for all layers.
        x = xp.sin(network(1, "freq") * (x @ network(layer, "weight").T + network(layer, "bias")))
        layer += 2
    h = x @ network(layer, "weight").T
    if choices["modulate"] == "true":
        t, deltas = p["filter_fn.pos_emb.t"][0, :length], p["filter_fn.modulation.deltas"][0]
        h = h * (xp.exp(-t * abs(deltas)) + float(choices["shift"]))
    if choices["normalized"] == "true":
        h = h / abs(h).sum(-1)[:, None]
    return by_filter(h.T, order, choices)


def by_filter(flat: Array, order: int, choices: Mapping[str, str]) -> Array:
    """(order - 1, head_dim, ...) of what is laid out flat, as (v o) or (o d)."""
    if choices["filter_layout"] == "(v o)":
        return flat.reshape(-1, order - 1, *flat.shape[1:]).swapaxes(0, 1)
    return flat.reshape(order - 1, -1, *flat.shape[1:])


def hyena(xp: Any, p: Mapping[str, Array], choices: Mapping[str, str]) -> Arrays:
    """Gates and long filters, one after another."""
    (batch, length, d), order, heads = p["input"].shape, int(choices["order"]), int(choices["num_heads"])
    length = min(length, p["filter_fn.pos_emb.z"].shape[1])
    s = {"projected": (p["input"] @ p["in_proj.weight"].T + p["in_proj.bias"]).swapaxes(1, 2)}
    s["short"] = short(xp, s["projected"], p["short_filter.weight"], p["short_filter.bias"])[..., :length]
    s["filter"] = filters(xp, p, choices, length)
    # Every head has its gates x_0, ..., x_(order-1) and its value one after another.
    *gates, v = (s["short"].reshape(batch, heads, order + 1, -1, length)[:, :, n] for n in range(order + 1))
    bias = by_filter(p["filter_fn.bias"], order, choices) if "filter_fn.bias" in p else None
    joined = lambda x: x.reshape(batch, d, length)
    s["v.0"] = joined(v)
    for n in range(1, order):
        product = v * gates[order - n]
        v = convolve(xp, product, s["filter"][n - 1])
        v = v + bias[n - 1][:, None] * product if bias is not None and choices["use_bias"] == "true" else v
        s[f"product.{n}"], s[f"v.{n}"] = joined(product), joined(v)
    s["mixed"] = joined(v * gates[0]).swapaxes(1, 2)
    s["output"] = s["mixed"] @ p["out_proj.weight"].T + p["out_proj.bias"]
    return s


def striped_hyena(xp: Any, p: Mapping[str, Array], choices: Mapping[str, str]) -> Arrays:
    """sh1, hcl, hcm and hcs, with the states that decoding goes on from."""
    u, operator = p["input"], choices["operator"]
    batch, length, d = u.shape
    projected = u @ p["projections.weight"].T
    projected = projected + p["projections.bias"] if "projections.bias" in p else projected
    raw = projected.swapaxes(1, 2)
    taps = p["filter.short_filter_weight"]
    s = {"projected": projected, "short": short(xp, raw, taps, p.get("filter.short_filter_bias"))}
    s["state.fir"] = last(xp, raw, taps.shape[-1] - 1)
    if choices["layout"] == "interleave":  # channels 3i, 3i + 1, 3i + 2
        parts = [s["short"][:, n::3] for n in range(3)]
    else:  # thirds of all channels, or of every head's
        heads = int(choices["num_attention_heads"]) if choices["layout"] == "column_split" else 1
        thirds = s["short"].reshape(batch, heads, 3, -1, length)
        parts = [thirds[:, :, n].reshape(batch, d, length) for n in range(3)]
    x2, x1, v = parts
    if choices["hyena_flip_x1x2"] == "true":
        x1, x2 = x2, x1
    s["x2"], s["x1"], s["v"] = x2, x1, v
    z, t = x1 * v, xp.arange(length, dtype=u.dtype)
    of_channels = lambda x: x[xp.arange(d) // (d // len(x))]  # neighbouring channels share a filter

    if operator in ("sh1", "hcl"):
        if operator == "sh1":
            (re, im), (c, c_im) = (of_channels(p[f"filter.{name}"])[:, :, 0].swapaxes(0, 2).swapaxes(1, 2) for name in ("poles", "residues"))
            size, angle = xp.sqrt(re**2 + im**2)[..., None] ** t, xp.arctan2(im, re)[..., None] * t
            powers = [size * xp.cos(angle), size * xp.sin(angle)]  # (d, modes, L) each
            s["filter"] = (c[..., None] * powers[0] - c_im[..., None] * powers[1]).sum(1)  # Re, not 2 Re
        else:
            powers = [xp.exp(of_channels(p["filter.log_poles"]) * t)]
            s["filter"] = (of_channels(p["filter.residues"])[..., None] * powers[0]).sum(1)
        states = [xp.einsum("dsl,bdl->bds", xp.flip(power, (-1,)), z) for power in powers]
        s["state.iir"] = xp.stack(states, -1) if operator == "sh1" else states[0]
        kernel = s["filter"]
    else:
        s["filter"] = of_channels(p["filter.h"])[:, 0]
        s["state.fir_inner"] = last(xp, z, s["filter"].shape[-1] - 1)
        # hcm convolves, hcs correlates: its last tap meets the present.
        kernel = s["filter"] if operator == "hcm" else xp.flip(s["filter"], (-1,))
    filtered = convolve(xp, z, kernel)
    s["filtered"] = filtered + p["filter.D"][:, None] * z if "filter.D" in p else filtered
    s["gated"] = (x2 * s["filtered"]).swapaxes(1, 2)
    out = s["gated"] @ p["out_filter_dense.weight"].T
    s["output"] = out + p["out_filter_dense.bias"] if "out_filter_dense.bias" in p else out
    return s


#: The operators by their kind.
OPERATORS: dict[str, Callable[..., Arrays]] = {
    "convolution": convolution,
    "h3-operator": h3_operator,
    "hyena": hyena,
    "striped-hyena": striped_hyena,
}


def given(xp: Any, golden: Golden) -> Arrays:
    """What a golden file's operator is given, in float32, by its names."""
    names = [*golden.parameters, *(["input"] if "input" in golden else [])]
    return {name: xp.asarray(golden[name].astype("float32")) for name in names}


def run(xp: Any, golden: Golden) -> Arrays:
    """The stages of a golden file's operator."""
    return OPERATORS[golden.kind](xp, given(xp, golden), golden.metadata)
