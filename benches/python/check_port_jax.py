"""A small H3 layer in JAX, checked against the golden suite.

    cargo build --release
    python check_port_jax.py                                    every golden file
    python check_port_jax.py 03-heads 24-resumed                some of them
    python check_port_jax.py 16-prime --mistake scan-operands   with a mistake in it

Needs jax, numpy and safetensors. Where the PyTorch port beside it convolves, this one scans: both
state space models run as recurrences (`jax.lax.scan` for the shift model, `associative_scan` for
the diagonal one), so it goes on from an initial state and gives the final one. A kernel that is cut
(l_max below the length) has no recurrence: there it convolves, by FFT.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

ROOT = Path(__file__).resolve().parents[2]
MISTAKES = {
    "no-d": "the diagonal model's skip D u is forgotten",
    "scan-operands": "the associative scan combines its operands in the wrong order",
    "reads-before": "the shift model's step reads its window before the new key is in it",
    "zoh-for-bilinear": "zero-order hold whatever the file says",
    "swap-kv": "the weights of k and v exchanged",
    "final-state-early": "the saved states are those before the last token",
    "real-none": "A_re = -inv_A_real whatever the file says",
    "off-by-a-hair": "ssm_out times 1.0001, in no catalogue",
}


def decode(p, meta):
    """Poles a and input weights b of every head's discrete diagonal model, (H, modes) each."""
    x = p["kernel.kernel.inv_A_real"]
    real = {
        "exp": lambda: -jnp.exp(x),
        "none": lambda: -x,
        "relu": lambda: -jax.nn.relu(x) - 1e-4,
        "sigmoid": lambda: -jax.nn.sigmoid(x),
        "softplus": lambda: -jax.nn.softplus(x),
    }[meta["real_type"]]()
    lam = real + 1j * p["kernel.kernel.A_imag"]
    b = pairs(p["kernel.kernel.B"])
    dt = jnp.exp(p["kernel.kernel.log_dt"])[:, None]  # (H, 1)
    share = jnp.arange(dt.shape[0]) % lam.shape[0]  # head h has model h mod n_ssm
    lam, b = lam[share], b[share]
    if meta["disc"] == "zoh":
        return jnp.exp(dt * lam), b * jnp.expm1(dt * lam) / lam
    return (1 + dt * lam / 2) / (1 - dt * lam / 2), b * dt / (1 - dt * lam / 2)


def pairs(x):
    """A last axis of real and imaginary part, as complex numbers."""
    return x[..., 0] + 1j * x[..., 1]


def convolve(u, f):
    """The first L of f * u along the last axis, by FFT."""
    n = u.shape[-1] + f.shape[-1]
    return jnp.fft.irfft(jnp.fft.rfft(u, n=n) * jnp.fft.rfft(f, n=n), n=n)[..., : u.shape[-1]]


def shift_model(b, c, u, x0, reads_before=False):
    """Steps x_n = x_{n-1} + B_n u, y = C x; u (B, d, L), x (B, d, m)."""

    def step(x, u):
        new = jnp.pad(x, ((0, 0), (0, 0), (1, 0)))[..., :-1] + b * u[..., None]
        return new, ((x if reads_before else new) * c).sum(-1)

    x, y = jax.lax.scan(step, x0, jnp.moveaxis(u, -1, 0))
    return jnp.moveaxis(y, 0, -1), x


def diagonal_model(a, b, c, u, x0, wrong_operands=False):
    """y = 2 Re c x with x = a x + b u by an associative scan; u (..., H, L), x (..., H, modes)."""

    def combine(earlier, later):
        (a1, b1), (a2, b2) = earlier, later
        return a1 * a2, a1 * b2 + b1 if wrong_operands else a2 * b1 + b2

    drive = b[..., None] * u[..., None, :]  # (..., H, modes, L)
    decay = jnp.broadcast_to(a[..., None], drive.shape)
    drive = drive.at[..., 0].add(a * x0)
    _, x = jax.lax.associative_scan(combine, (decay, drive), axis=-1)
    return 2 * jnp.einsum("hn,...hnl->...hl", c, x).real, x


def layer(p, meta, mistake=None):
    """Every stage of an H3 layer, by its name in files."""
    u = p["input"]
    batch, length, d = u.shape
    d_h = int(meta["head_dim"])
    heads = d // d_h
    window = length if meta["l_max"] == "none" else min(length, int(meta["l_max"]))

    if mistake == "swap-kv":
        for part in "weight", "bias":
            k, v = f"k_proj.{part}", f"v_proj.{part}"
            p = {**p, k: p[v], v: p[k]}

    def project(x, name):
        return x @ p[name + ".weight"].T + p[name + ".bias"]

    s = {n: project(u, n + "_proj").swapaxes(1, 2) for n in "qkv"}
    q, k, v = s["q"], s["k"], s["v"]

    b, c = p["ssm_k_kernel.kernel.B"], p["ssm_k_kernel.kernel.C"][0]  # (d, m)
    m = b.shape[-1]
    taps = [(c[:, j:] * b[:, : m - j]).sum(-1) for j in range(min(m, window))]
    kernel = jnp.stack(taps + [jnp.zeros(d)] * (window - len(taps)), -1)
    s["shift_kernel"] = kernel
    x0 = p.get("initial_state_k", jnp.zeros((batch, d, m)))
    shifted, x = shift_model(b, c, k, x0, mistake == "reads-before")
    if mistake == "final-state-early":
        _, x = shift_model(b, c, k[..., :-1], x0)
    if window < length:
        shifted = convolve(k, kernel)
    s["final_state_k"] = x
    s["shift_k"] = shifted + p["ssm_k_D"][:, None] * k

    by_head = lambda x: x.reshape(batch, heads, d_h, length)
    kv = jnp.einsum("bhil,bhjl->bijhl", by_head(s["shift_k"]), by_head(v))
    s["kv"] = kv

    if mistake == "zoh-for-bilinear":
        meta = {**meta, "disc": "zoh"}
    if mistake == "real-none":
        meta = {**meta, "real_type": "none"}
    a, b = decode(p, meta)
    c = pairs(p["kernel.kernel.C"][0])
    powers = a[..., None] ** jnp.arange(window)
    kernel = 2 * jnp.einsum("hn,hnl->hl", c * b, powers).real
    s["ssm_kernel"] = kernel
    x0 = jnp.zeros((*kv.shape[:-1], a.shape[-1]), a.dtype)
    if "initial_state" in p:
        x0 = pairs(p["initial_state"]).reshape(x0.shape)
    out, x = diagonal_model(a, b, c, kv, x0, mistake == "scan-operands")
    if window < length:
        out = convolve(kv, kernel)
    x = x[..., -2 if mistake == "final-state-early" else -1]
    s["final_state"] = jnp.stack([x.real, x.imag], -1).reshape(-1, heads, a.shape[-1], 2)
    if mistake != "no-d":
        out = out + p["D"][:, None] * kv
    if mistake == "off-by-a-hair":
        out = out * 1.0001
    s["ssm_out"] = out

    gated = jnp.einsum("bhil,bijhl->bjhl", by_head(q), out)  # (B, d2, H, L)
    if meta.get("head_order", "d2h") == "hd2":
        gated = gated.swapaxes(1, 2)
    s["gated"] = gated.reshape(batch, d, length).swapaxes(1, 2)
    s["output"] = project(s["gated"], "output_linear")
    return s


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("cases", nargs="*")
    parser.add_argument("--mistake", choices=MISTAKES)
    args = parser.parse_args()
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_default_matmul_precision", "highest")
    folder = ROOT / "tests/golden/v2"
    names = args.cases or sorted(path.stem for path in folder.glob("*.safetensors")
                                if "-model-" not in path.stem and "-dense" not in path.stem)
    hippos = ROOT / "target/release/hippos"
    passed, failed = 0, []
    for name in names:
        golden = folder / f"{name}.safetensors"
        with safe_open(golden, "np") as file:
            meta = file.metadata()
            p = {key: jnp.asarray(file.get_tensor(key), jnp.float32) for key in file.keys()}
        stages = layer(p, meta, args.mistake)
        with tempfile.TemporaryDirectory() as scratch:
            dump = Path(scratch) / "port.safetensors"
            arrays = {key: np.ascontiguousarray(x, np.float32) for key, x in stages.items()}
            save_file(arrays, dump)
            command = [hippos, "check", golden, dump]
            result = subprocess.run(command, text=True, capture_output=True)
        if args.cases or result.returncode > 1:
            print(f"{name}\n{result.stdout}{result.stderr}")
        passed += result.returncode == 0
        failed += [name] if result.returncode else []
    print(f"{passed} of {passed + len(failed)} pass", *failed)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
