"""The Python peers of the benchmarks, as a server: one request a line on standard input, the
seconds one run of it took on standard output. The Rust program asks peers and crate in turn.

    python peers.py [h3=CHECKOUT] [vortex=CHECKOUT] [mamba=CHECKOUT] [clock=processor]

Requests: NAME THREADS SIZES...; see HANDLERS. Inputs are made once for every request and kept. Two requests are
answered by another number than seconds: memory REQUEST (bytes), and loss_apart FILE (see h3_lm.py). Official
code is run as it stands in checkouts of HazyResearch/H3, Zymrael/vortex and state-spaces/mamba; of packages
that only other parts of it need, such as GPU kernels, empty ones take the place.
"""

import functools
import importlib.util
import logging
import os
import sys
import time
import types
from pathlib import Path

import numpy as np
import torch

try:
    import scipy.fft as scipy_fft
except ImportError:
    scipy_fft = None

CHECKOUTS = dict(argument.split("=", 1) for argument in sys.argv[1:])
clock = time.process_time if CHECKOUTS.pop("clock", "wall") == "processor" else time.perf_counter
torch.manual_seed(0)


@functools.lru_cache(maxsize=2)
def signals(channels, length, dtype="float32"):
    u = torch.randn(channels, length, dtype=getattr(torch, dtype))
    f = torch.randn(channels, length, dtype=getattr(torch, dtype)) / length**0.5
    return u, f


@functools.lru_cache(maxsize=1)
def spectrum(channels, length, dtype="float32"):
    return torch.fft.rfft(signals(channels, length, dtype)[1], n=2 * length)


def torch_conv(channels, length, dtype="float32"):
    u, f = signals(channels, length, dtype)
    def run():
        n = 2 * length
        return torch.fft.irfft(torch.fft.rfft(u, n=n) * torch.fft.rfft(f, n=n), n=n)[..., :length]
    return run


def torch_conv_known(channels, length, dtype="float32"):
    u, _ = signals(channels, length, dtype)
    f = spectrum(channels, length, dtype)
    n = 2 * length
    return lambda: torch.fft.irfft(torch.fft.rfft(u, n=n) * f, n=n)[..., :length]


def scipy_conv(channels, length, dtype="float32"):
    u, f = (x.numpy() for x in signals(channels, length, dtype))
    n = scipy_fft.next_fast_len(2 * length, real=True)
    workers = torch.get_num_threads()
    def run():
        with scipy_fft.set_workers(workers):
            return scipy_fft.irfft(scipy_fft.rfft(u, n) * scipy_fft.rfft(f, n), n)[..., :length]
    return run


def linear(rows, d):
    u, w, b = torch.randn(rows, d), torch.randn(d, d), torch.zeros(d)
    return lambda: torch.nn.functional.linear(u, w, b)


@functools.lru_cache(maxsize=1)
def official_layer(d, length, grad):
    sys.path.insert(0, CHECKOUTS["h3"])
    logging.disable(logging.CRITICAL)
    # Its logger alone needs it.
    stand_in("pytorch_lightning")
    stand_in("pytorch_lightning.utilities", rank_zero_only=lambda f: f)
    from src.models.ssm.h3 import H3
    torch.manual_seed(0)
    layer = H3(d, d_state=64, mode="diag", measure="diag-lin")
    u = torch.randn(1, length, d)
    u.requires_grad_(grad)
    return layer, u


def official(d, length):
    layer, u = official_layer(d, length, False)
    def run():
        with torch.no_grad():
            return layer(u)
    return run


def official_backward(d, length):
    layer, u = official_layer(d, length, True)
    def run():
        layer.zero_grad(set_to_none=True)
        u.grad = None
        layer(u).sum().backward()
    return run


def official_step(d, batch):
    layer, _ = official_layer(d, 64, False)
    u = torch.randn(batch, 1, d)
    with torch.no_grad():
        layer.ssm_k_kernel._setup_step()
        layer.kernel._setup_step()
        states = [layer.ssm_k_kernel.default_state(batch), layer.kernel.default_state(batch)]
    def run():
        with torch.no_grad():
            for _ in range(20):
                _, *states[:] = layer.step(u, *states)
    return run


def torch_best(d, length):
    """The four products and two convolutions alone, spectra given: the least torch can do."""
    u = torch.randn(length, d)
    w = [torch.randn(d, d) / d**0.5 for _ in range(4)]
    b = torch.zeros(d, 1)
    n = 2 * length
    shift = torch.fft.rfft(torch.randn(d, length), n=n)
    diagonal = torch.fft.rfft(torch.randn(d, length), n=n)
    def run():
        with torch.no_grad():
            q, k, v = (torch.addmm(b, w[i], u.T) for i in range(3))
            k = torch.fft.irfft(torch.fft.rfft(k, n=n) * shift, n=n)[..., :length]
            y = torch.fft.irfft(torch.fft.rfft(k * v, n=n) * diagonal, n=n)[..., :length]
            return torch.nn.functional.linear((q * y).T, w[3])
    return run


def torch_best_backward(d, length):
    """As torch_best, its kernels transformed too, and back to the input and every weight, bias and kernel: the least
    that autograd can do."""
    u = torch.randn(length, d, requires_grad=True)
    w = [(torch.randn(d, d) / d**0.5).requires_grad_() for _ in range(4)]
    b = [torch.zeros(*size, requires_grad=True) for size in ((d, 1), (d, 1), (d, 1), (d,))]
    f = [(torch.randn(d, length) / length**0.5).requires_grad_() for _ in range(2)]
    n = 2 * length
    def convolve(x, f):
        return torch.fft.irfft(torch.fft.rfft(x, n=n) * torch.fft.rfft(f, n=n), n=n)[..., :length]
    def run():
        for x in (u, *w, *b, *f):
            x.grad = None
        q, k, v = (torch.addmm(b[i], w[i], u.T) for i in range(3))
        y = convolve(convolve(k, f[0]) * v, f[1])
        torch.nn.functional.linear((q * y).T, w[3], b[3]).sum().backward()
    return run


def stand_in(name, **members):
    """An empty module in the place of one that is not needed here."""
    sys.modules[name] = types.ModuleType(name)
    vars(sys.modules[name]).update(members)


@functools.lru_cache(maxsize=1)
def hyena_cascade():
    sys.path.insert(0, CHECKOUTS["vortex"])
    stand_in("rich")
    stand_in("rich.logging", RichHandler=lambda *_, **__: logging.NullHandler())
    stand_in("vortex.model.attention", MHA=None)
    stand_in("vortex.model.positional_embeddings", swap_mha_rope=None)
    from vortex.model.model import HyenaCascade
    return HyenaCascade


class Choices(dict):
    __getattr__ = dict.__getitem__


def cascade(d, length, taps, groups):
    """vortex's operator between its projections, in the layout of Evo 2: (1, L, 3 d) to (1, L, d)."""
    config = Choices(
        hidden_size=d, num_filters=d, state_size=16, num_attention_heads=8, short_filter_length=3,
        short_filter_bias=False, column_split_hyena=False, interleave=True)
    torch.manual_seed(0)
    layer = hyena_cascade()(config, 0, hyena_filter_groups=groups, fir_inner_filter_length=taps)
    if taps is None:
        # Decays, as trained ones are.
        layer.log_poles.data.abs_().neg_()
    u = torch.randn(1, length, 3 * d)
    def run():
        with torch.no_grad():
            return layer(u)[0]
    return run


def vortex_hcl(d, length):
    return cascade(d, length, None, d)


def vortex_hcm(d, length):
    return cascade(d, length, 128, 128)


def vortex_hcs(d, length):
    return cascade(d, length, 7, 128)


@functools.lru_cache(maxsize=1)
def ssd_minimal():
    """The official function, from its file: the package around it needs a GPU."""
    stand_in("mamba_ssm")
    for name in ("ops", "ops.triton", "ops.triton.ssd_combined"):
        stand_in("mamba_ssm." + name, mamba_chunk_scan_combined=None)
    names = {}
    path = Path(CHECKOUTS["mamba"]) / "mamba_ssm/modules/ssd_minimal.py"
    exec(compile(path.read_text(), str(path), "exec"), names)
    return names["ssd_minimal_discrete"]


def mamba_ssd(heads, inputs, state, length, chunk):
    """Of one group; X is dt x and A is log_a, made within the time as in the file's own test."""
    run_ssd = ssd_minimal()
    x, b, c = torch.randn(1, length, heads, inputs), *torch.randn(2, 1, length, 1, state)
    dt = torch.nn.functional.softplus(torch.randn(1, length, heads) - 4)
    a = -torch.exp(torch.rand(heads))
    def run():
        with torch.no_grad():
            return run_ssd(x * dt.unsqueeze(-1), a * dt, b, c, chunk)
    return run


def torch_training(vocabulary, length):
    """An epoch of the recall task as a training loop has it, on random tokens: 5000 sequences in batches of 32,
    the last of 8."""
    from h3_lm import H3LM

    torch.manual_seed(0)
    model = H3LM(vocabulary, 32, blocks=2, d_state=64, d_inner=128, dropout=0.1)
    optimizer = torch.optim.AdamW(model.groups(decay=0.1), lr=5e-4, foreach=True)
    epoch, warmup, total = 157, 20 * 157, 200 * 157
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda t: t / warmup if t < warmup else max(0.0, (total - t) / (total - warmup)))
    tokens = torch.randint(0, vocabulary, (5000, length + 1))
    def run():
        losses = []
        for batch in torch.randperm(5000).split(32):
            chosen = tokens[batch]
            optimizer.zero_grad(set_to_none=True)
            loss = model.loss(chosen[:, :-1], chosen[:, 1:])
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        assert len(losses) == epoch
        return losses
    return run


HANDLERS = {f.__name__: f for f in (
    torch_conv, torch_conv_known, scipy_conv, linear, official, official_backward, official_step,
    torch_best, torch_best_backward, vortex_hcl, vortex_hcm, vortex_hcs, mamba_ssd, torch_training)}


@functools.lru_cache(maxsize=8)
def prepared(name, sizes):
    return HANDLERS[name](*(int(s) if s.isdigit() else s for s in sizes))


# What a peer's checkout is of, and what its code imports beside torch.
SOURCES = {
    "official": ("h3", "official", "HazyResearch/H3", ("einops", "opt_einsum")),
    "vortex": ("vortex", "vortex", "Zymrael/vortex", ()),
    "mamba": ("mamba", "mamba", "state-spaces/mamba", ("einops",)),
}


def lacking(name):
    """What a peer needs to run and is not there; None if nothing."""
    if name == "scipy_conv":
        return None if scipy_fft else "scipy: pip install scipy"
    if name.split("_")[0] not in SOURCES:
        return None
    checkout, option, repository, packages = SOURCES[name.split("_")[0]]
    missing = [p for p in packages if importlib.util.find_spec(p) is None]
    if checkout not in CHECKOUTS:
        return f"a checkout: git clone https://github.com/{repository} and pass --{option}"
    return f"pip install {' '.join(missing)}" if missing else None


def memory_of(run):
    """The most bytes a run takes beside what was there before it (Linux)."""
    def of_process(what):
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(what))
    Path("/proc/self/clear_refs").write_text("5")
    before = of_process("VmRSS:")
    run()
    return of_process("VmHWM:") - before


def main():
    lacks = {name: lacking(name) for name in HANDLERS}
    # Each once, before anything runs.
    for what in sorted({what for what in lacks.values() if what}):
        peers = ", ".join(name for name in HANDLERS if lacks[name] == what)
        print(f"left out: {peers}: needs {what}", file=sys.stderr, flush=True)
    have = [name for name in HANDLERS if not lacks[name]]
    print("ready", torch.__version__, *have, flush=True)
    for line in sys.stdin:
        words = line.split()
        if not words:
            continue
        try:
            if words[0] == "loss_apart":
                from h3_lm import loss_apart
                # A path may hold spaces.
                print(loss_apart(line.strip().split(" ", 1)[1]), flush=True)
                continue
            memory = words[0] == "memory"
            words = words[memory:]
            torch.set_num_threads(int(words[1]))
            run = prepared(words[0], tuple(words[2:]))
            if memory:
                print(memory_of(run), flush=True)
                continue
            start = clock()
            run()
            print(clock() - start, flush=True)
        except Exception as error:  # what one peer lacks is no reason to stop the others
            print(f"{words[0]}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            print("nan", flush=True)


if __name__ == "__main__":
    main()
