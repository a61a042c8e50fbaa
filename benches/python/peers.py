"""The Python peers of the benchmarks, as a server: one request a line on standard input, the
seconds one run of it took on standard output. The Rust program asks peers and crate in turn.

    python peers.py [OFFICIAL_CHECKOUT]

Requests: NAME THREADS SIZES...; see HANDLERS. Inputs are made once for every request and kept.
"""

import functools
import os
import resource
import sys
import time

import numpy as np
import torch

try:
    import scipy.fft as scipy_fft
except ImportError:
    scipy_fft = None

OFFICIAL = sys.argv[1] if len(sys.argv) > 1 else None
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
    sys.path.insert(0, OFFICIAL)
    import logging
    logging.disable(logging.CRITICAL)
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


HANDLERS = {f.__name__: f for f in (
    torch_conv, torch_conv_known, scipy_conv, linear, official, official_backward, official_step,
    torch_best)}


@functools.lru_cache(maxsize=8)
def prepared(name, sizes):
    return HANDLERS[name](*(int(s) if s.isdigit() else s for s in sizes))


def main():
    have = [n for n in HANDLERS
            if (OFFICIAL or not n.startswith("official")) and (scipy_fft or n != "scipy_conv")]
    print("ready", torch.__version__, *have, flush=True)
    for line in sys.stdin:
        words = line.split()
        if not words:
            continue
        if words[0] == "peak":
            print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, flush=True)
            continue
        torch.set_num_threads(int(words[1]))
        try:
            run = prepared(words[0], tuple(words[2:]))
            start = time.perf_counter()
            run()
            print(time.perf_counter() - start, flush=True)
        except Exception as error:  # what one peer lacks is no reason to stop the others
            print(f"{words[0]}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            print("nan", flush=True)


if __name__ == "__main__":
    main()
