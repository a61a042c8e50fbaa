"""A small H3 layer in PyTorch, checked against the golden suite.

    cargo build --release
    python check_port_torch.py                                    every golden file
    python check_port_torch.py 03-heads 18-long                   some of them
    python check_port_torch.py 01-basic --mistake circular        with a mistake in it
    python check_port_torch.py --precision mixed-bf16             projections in bfloat16
    python check_port_torch.py --precision mixed-bf16 --rules     and what rules of thumb say of its output

Needs torch, numpy and safetensors. The layer is computed as a training port would compute it:
kernels, FFT convolutions, no recurrence. It is written for files without an initial state.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file

ROOT = Path(__file__).resolve().parents[2]
MISTAKES = {
    "no-d": "the diagonal model's skip D u is forgotten",
    "circular": "FFT convolution of length L, not padded",
    "zoh-for-bilinear": "zero-order hold whatever the file says",
    "no-shift-d": "the shift model's skip D k is forgotten",
    "conv-not-corr": "the taps of B and C convolved instead of correlated",
    "no-factor-2": "the real part without the factor 2",
    "head-order": "channels of gated laid out in the other order",
    "relu-bare": "real_type relu without the official -1e-4",
    "mxy-early": "chunks of 8, the carried state read one step early",
}


def decode(p, meta, mistake=None):
    """Poles a and input weights b of every head's discrete diagonal model, (H, modes) each."""
    x = p["kernel.kernel.inv_A_real"]
    real = {
        "exp": lambda: -torch.exp(x),
        "none": lambda: -x,
        "relu": lambda: -torch.relu(x) - (0.0 if mistake == "relu-bare" else 1e-4),
        "sigmoid": lambda: -torch.sigmoid(x),
        "softplus": lambda: -F.softplus(x),
    }[meta["real_type"]]()
    lam = torch.complex(real, p["kernel.kernel.A_imag"])
    b = torch.view_as_complex(p["kernel.kernel.B"].contiguous())
    dt = torch.exp(p["kernel.kernel.log_dt"])[:, None]  # (H, 1)
    share = torch.arange(dt.shape[0]) % lam.shape[0]  # head h has model h mod n_ssm
    lam, b = lam[share], b[share]
    if meta["disc"] == "zoh":
        return torch.exp(dt * lam), b * complex_expm1(dt * lam) / lam
    return (1 + dt * lam / 2) / (1 - dt * lam / 2), b * dt / (1 - dt * lam / 2)


def complex_expm1(z):
    """e^z - 1 without cancellation at small z."""
    x, y = z.real, z.imag
    half = torch.sin(y / 2)
    return torch.complex(
        torch.expm1(x) * torch.cos(y) - 2 * half * half, torch.exp(x) * torch.sin(y)
    )


def convolve(u, f, circular=False):
    """The first L of f * u along the last axis, by FFT."""
    n_u, n_f = u.shape[-1], f.shape[-1]
    n = n_u if circular else n_u + n_f
    f = f[..., :n]
    return torch.fft.irfft(torch.fft.rfft(u, n=n) * torch.fft.rfft(f, n=n), n=n)[..., :n_u]


def layer(p, meta, u, precision, mistake=None):
    """Every stage of an H3 layer, by its name in files."""
    d, d_h = u.shape[-1], int(meta["head_dim"])
    heads, length = d // d_h, u.shape[1]
    window = length if meta["l_max"] == "none" else min(length, int(meta["l_max"]))
    low = torch.bfloat16 if precision == "mixed-bf16" else u.dtype

    def project(x, name):
        w, b = p[name + ".weight"].to(low), p[name + ".bias"].to(low)
        return F.linear(x.to(low), w, b)

    s = {n: project(u, n + "_proj").transpose(1, 2) for n in "qkv"}
    q, k, v = (s[n].to(u.dtype) for n in "qkv")

    # The shift model: its kernel is the correlation of C with B, cut to the window.
    b, c = p["ssm_k_kernel.kernel.B"], p["ssm_k_kernel.kernel.C"][0]  # (d, m)
    m = b.shape[-1]
    b_spectrum = torch.fft.rfft(b, n=2 * m)
    if mistake != "conv-not-corr":
        b_spectrum = b_spectrum.conj()
    kernel = torch.fft.irfft(torch.fft.rfft(c, n=2 * m) * b_spectrum, n=2 * m)[..., :m]
    kernel = F.pad(kernel, (0, max(0, window - m)))[..., :window]
    s["shift_kernel"] = kernel
    shift_k = convolve(k, kernel)
    if mistake != "no-shift-d":
        shift_k = shift_k + p["ssm_k_D"][:, None] * k
    s["shift_k"] = shift_k

    # Outer products of the heads: (B, d1, d2, H, L).
    by_head = lambda x: x.unflatten(1, (heads, d_h))
    kv = torch.einsum("bhil,bhjl->bijhl", by_head(shift_k), by_head(v))
    s["kv"] = kv

    # The diagonal model.
    if mistake == "zoh-for-bilinear":
        meta = {**meta, "disc": "zoh"}
    a, b = decode(p, meta, mistake)
    c = torch.view_as_complex(p["kernel.kernel.C"][0].contiguous())
    steps = torch.arange(window)
    powers = torch.exp(torch.log(a)[..., None] * steps)  # (H, modes, L)
    factor = 1 if mistake == "no-factor-2" else 2
    kernel = factor * torch.einsum("hn,hnl->hl", c * b, powers).real
    s["ssm_kernel"] = kernel
    if mistake == "mxy-early":
        ssm_out = in_chunks(kv, kernel, a, b, c, chunk=8)
    else:
        ssm_out = convolve(kv, kernel, circular=mistake == "circular")
    if mistake != "no-d":
        ssm_out = ssm_out + p["D"][:, None] * kv
    s["ssm_out"] = ssm_out

    gated = torch.einsum("bhil,bijhl->bjhl", by_head(q), ssm_out)  # (B, d2, H, L)
    order = meta.get("head_order", "d2h")
    if mistake == "head-order":
        order = "hd2" if order == "d2h" else "d2h"
    if order == "hd2":
        gated = gated.transpose(1, 2)
    s["gated"] = gated.flatten(1, 2).transpose(1, 2)
    s["output"] = project(s["gated"], "output_linear")
    return s


def in_chunks(u, kernel, a, b, c, chunk):
    """FlashConv with the mistake: reads C A^i x with i = 0, ..., T-1 where i = 1, ..., T is meant."""
    state = torch.zeros(*u.shape[:-1], a.shape[-1], dtype=a.dtype)
    out = []
    for part in u.split(chunk, dim=-1):
        t = part.shape[-1]
        powers = a[..., None] ** torch.arange(t)  # (H, modes, T)
        carried = 2 * torch.einsum("hn,hnt,...hn->...ht", c, powers, state).real
        out.append(convolve(part, kernel[..., :t]) + carried)
        taken = torch.einsum("hn,hnt,...ht->...hn", b, powers.flip(-1), part.to(a.dtype))
        state = a**t * state + taken
    return torch.cat(out, dim=-1)


RULES = {
    "RMS ratio below 0.005": lambda x, y: ((x - y).norm() < 0.005 * y.norm()).item(),
    "allclose, rtol = atol = 1e-3": lambda x, y: torch.allclose(x, y, 1e-3, 1e-3),
    "allclose, rtol = atol = 1e-2": lambda x, y: torch.allclose(x, y, 1e-2, 1e-2),
    "allclose, rtol 5e-2, atol 5e-1": lambda x, y: torch.allclose(x, y, 5e-2, 5e-1),
}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("cases", nargs="*")
    parser.add_argument("--mistake", choices=MISTAKES)
    parser.add_argument("--precision", choices=["f32", "mixed-bf16"], default="f32")
    parser.add_argument("--rules", action="store_true")
    args = parser.parse_args()
    folder = ROOT / "tests/golden/v2"
    names = args.cases or sorted(path.stem for path in folder.glob("*.safetensors")
                                if "-model-" not in path.stem and "-dense" not in path.stem)
    hippos = ROOT / "target/release/hippos"
    passed, failed, refused = 0, [], dict.fromkeys(RULES, 0)
    for name in names:
        golden = folder / f"{name}.safetensors"
        with safe_open(golden, "pt") as file:
            meta = file.metadata()
            p = {key: file.get_tensor(key).float() for key in file.keys()}
            truth = file.get_tensor("output")
        if "initial_state" in p:
            print(f"{name}: goes on from a state, which this port does not do")
            continue
        with torch.no_grad():
            stages = layer(p, meta, p["input"], args.precision, args.mistake)
        for rule, accepts in RULES.items():
            refused[rule] += not accepts(stages["output"].double(), truth)
        with tempfile.TemporaryDirectory() as scratch:
            dump = Path(scratch) / "port.safetensors"
            save_file({key: x.contiguous() for key, x in stages.items()}, dump)
            command = [hippos, "check", golden, dump, "--dtype", args.precision]
            result = subprocess.run(command, text=True, capture_output=True)
        if args.cases or result.returncode > 1:
            print(f"{name}\n{result.stdout}{result.stderr}")
        passed += result.returncode == 0
        failed += [name] if result.returncode else []
    print(f"{passed} of {passed + len(failed)} pass", *failed)
    if args.rules:
        for rule, count in refused.items():
            print(f"refused by {rule}: {count}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
