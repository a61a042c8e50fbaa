"""The H3 layer as a PyTorch module with official parameter names, differentiable, from states, over documents in its rows.

    from hungry_hippos import check, suite
    from hungry_hippos.examples.torch_layer import Layer
    from hungry_hippos.torch import COTANGENTS, capture

    golden = suite()["03-heads"]
    layer, u = Layer.of(golden)
    with capture(layer, Layer.STAGES, grads=COTANGENTS) as stages:
        layer.loss(golden, layer(u)).backward()
    print(check(golden, stages))
"""

from __future__ import annotations

from typing import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .._golden import Golden
from ._documents import Documents, documents_of, places


def expm1(z: Tensor) -> Tensor:
    """e^z - 1 without cancellation at small z."""
    half = torch.sin(z.imag / 2)
    real = torch.expm1(z.real) * torch.cos(z.imag) - 2 * half * half
    return torch.complex(real, torch.exp(z.real) * torch.sin(z.imag))


def convolve(u: Tensor, f: Tensor) -> Tensor:
    """The first L of f * u along the last axis, padded so that nothing wraps around."""
    n = u.shape[-1] + f.shape[-1]
    return torch.fft.irfft(torch.fft.rfft(u, n=n) * torch.fft.rfft(f, n=n), n=n)[..., : u.shape[-1]]


class ShiftKernel(nn.Module):
    """The shift model's kernel, the correlation of C with B: f_j = sum_n C_n B_(n-j)."""

    def __init__(self, p: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.kernel = nn.ParameterDict({name: nn.Parameter(p[f"ssm_k_kernel.kernel.{name}"]) for name in "BC"})

    def forward(self, window: int) -> Tensor:
        b, c = self.kernel["B"], self.kernel["C"][0]
        m = b.shape[-1]
        spectrum = torch.fft.rfft(c, n=2 * m) * torch.fft.rfft(b, n=2 * m).conj()
        kernel = torch.fft.irfft(spectrum, n=2 * m)[..., :m]
        return F.pad(kernel, (0, max(0, window - m)))[..., :window]

    def carried(self, x: Tensor, length: int) -> Tensor:
        """C A^(i+1) x for i = 0, ..., L-1, of a window x (B, d, m)."""
        c, out = self.kernel["C"][0], []
        for _ in range(length):
            x = F.pad(x[..., :-1], (1, 0))
            out.append((c * x).sum(-1))
        return torch.stack(out, -1)

    def state(self, k: Tensor, x: Tensor | None) -> Tensor:
        """The window after the last key."""
        b = self.kernel["B"]
        x = torch.zeros(*k.shape[:2], b.shape[-1], dtype=k.dtype) if x is None else x
        for t in range(k.shape[-1]):
            x = F.pad(x[..., :-1], (1, 0)) + b * k[..., t, None]
        return x


class DiagonalKernel(nn.Module):
    """The diagonal model's kernel: 2 Re of one of each pair of conjugate modes."""

    NAMES = ("log_dt", "B", "C", "inv_A_real", "A_imag")

    def __init__(self, p: Mapping[str, Tensor], choices: Mapping[str, str]) -> None:
        super().__init__()
        self.kernel = nn.ParameterDict({name: nn.Parameter(p[f"kernel.kernel.{name}"]) for name in self.NAMES})
        self.disc, self.real_type = choices["disc"], choices["real_type"]

    def discrete(self) -> tuple[Tensor, Tensor, Tensor]:
        """Poles a, input weights b and output weights c of every head, (H, modes) each."""
        x = self.kernel["inv_A_real"]
        real = {
            "exp": lambda: -torch.exp(x),
            "none": lambda: -x,
            "relu": lambda: -torch.relu(x) - 1e-4,
            "sigmoid": lambda: -torch.sigmoid(x),
            "softplus": lambda: -F.softplus(x),
        }[self.real_type]()
        lam = torch.complex(real, self.kernel["A_imag"])
        b = torch.view_as_complex(self.kernel["B"])
        dt = torch.exp(self.kernel["log_dt"])[:, None]
        share = torch.arange(len(dt)) % len(lam)  # head h has model h mod n_ssm
        lam, b = lam[share], b[share]
        z = dt * lam
        c = torch.view_as_complex(self.kernel["C"][0])
        if self.disc == "zoh":
            return torch.exp(z), b * expm1(z) / lam, c
        return (1 + z / 2) / (1 - z / 2), b * dt / (1 - z / 2), c

    def forward(self, window: int) -> Tensor:
        a, b, c = self.discrete()
        powers = torch.exp(torch.log(a)[..., None] * torch.arange(window))
        return 2 * torch.einsum("hn,hnl->hl", c * b, powers).real

    def carried(self, x: Tensor, length: int) -> Tensor:
        """C A^(i+1) x for i = 0, ..., L-1, of states x (B, d1, d2, H, modes)."""
        a, _, c = self.discrete()
        powers = torch.exp(torch.log(a)[..., None] * torch.arange(1, length + 1))
        return 2 * torch.einsum("hn,hnl,bijhn->bijhl", c, powers, x).real

    def state(self, kv: Tensor, x: Tensor | None) -> Tensor:
        """The states after the last token."""
        a, b, _ = self.discrete()
        length = kv.shape[-1]
        powers = torch.exp(torch.log(a)[..., None] * torch.arange(length - 1, -1, -1))
        last = torch.einsum("hn,hnl,bijhl->bijhn", b, powers, kv.to(a.dtype))
        return last if x is None else last + torch.exp(torch.log(a) * length) * x


class Layer(nn.Module):
    """The layer; its state dict is that of the official one."""

    #: Where its stages are, for ``capture``.
    STAGES = {
        **{name: f"forward.{name}" for name in ("q", "k", "v", "shift_k", "kv", "ssm_out", "final_state_k", "final_state")},
        "shift_kernel": "ssm_k_kernel.output",
        "ssm_kernel": "kernel.output",
        "gated": "output_linear.input",
        "output": "output",
    }

    def __init__(self, p: Mapping[str, Tensor], choices: Mapping[str, str], states: Mapping[str, Tensor] = {}) -> None:
        super().__init__()
        self.documents: Documents | None = None
        d = len(p["ssm_k_D"])
        for name in ("q_proj", "k_proj", "v_proj", "output_linear"):
            self.add_module(name, nn.Linear(d, d, dtype=p["D"].dtype))
        self.ssm_k_kernel, self.kernel = ShiftKernel(p), DiagonalKernel(p, choices)
        self.ssm_k_D, self.D = nn.Parameter(p["ssm_k_D"]), nn.Parameter(p["D"])
        self.load_state_dict(p)
        self.choices = choices
        self.initial_state_k, self.initial_state = states.get("initial_state_k"), states.get("initial_state")

    @classmethod
    def of(cls, golden: Golden, dtype: torch.dtype = torch.float32) -> tuple["Layer", Tensor]:
        """The layer of a golden file and its input, which takes a gradient."""
        # Cloned: torch.view_as_complex wants memory of its own.
        tensor = lambda x: torch.from_numpy(x).to(dtype).clone()
        p = {name: tensor(x) for name, x in golden.parameters.items()}
        states = {name: tensor(golden[name]).requires_grad_() for name in ("initial_state_k", "initial_state") if name in golden}
        layer, u = cls(p, golden.metadata, states), tensor(golden.input).requires_grad_()
        layer.documents = documents_of(golden, golden.input)
        return layer, u

    def forward(self, u: Tensor) -> Tensor:
        (batch, length, d), d_h = u.shape, int(self.choices["head_dim"])
        heads, l_max = d // d_h, self.choices["l_max"]
        documents = self.documents or tuple((row, 0, length) for row in range(batch))
        longest = max(end - begin for _, begin, end in documents)
        window = longest if l_max == "none" else min(longest, int(l_max))
        by_head = lambda x: x.unflatten(1, (heads, d_h))

        # What stands beside documents is anything, and must not reach a parameter's gradient.
        u = torch.where(self.tokens(documents, batch, length), u, 0)
        q, k, v = (proj(u).transpose(1, 2) for proj in (self.q_proj, self.k_proj, self.v_proj))
        shifted, final_state_k = self.each(documents, self.ssm_k_kernel, window, k, self.initial_state_k)
        shift_k = shifted + self.ssm_k_D[:, None] * k

        kv = torch.einsum("bhil,bhjl->bijhl", by_head(shift_k), by_head(v))
        x = None
        if self.initial_state is not None:
            x = torch.view_as_complex(self.initial_state).reshape(len(documents), d_h, d_h, heads, -1)
        remembered, final = self.each(documents, self.kernel, window, kv, x)
        ssm_out = remembered + self.D[:, None] * kv
        final_state = final.flatten(0, 2)
        self.final = {"final_state_k": final_state_k, "final_state": torch.view_as_real(final_state)}

        gated = torch.einsum("bhil,bijhl->bjhl", by_head(q), ssm_out)
        if self.choices.get("head_order", "d2h") == "hd2":
            gated = gated.transpose(1, 2)
        return self.output_linear(gated.flatten(1, 2).transpose(1, 2))

    @staticmethod
    def tokens(documents: Documents, batch: int, length: int) -> Tensor:
        """True where there is a token (B, L, 1)."""
        return torch.from_numpy(places(documents, batch, length)[1] >= 0)[..., None]

    def loss(self, golden: Golden, output: Tensor) -> Tensor:
        """<g, output> over tokens, and the final states with their cotangents where there are some."""
        made = {"g": output, **{f"g.{name}": x for name, x in self.final.items()}}
        cotangents = {name: torch.from_numpy(golden[name]).to(output.dtype) for name in made if name in golden}
        tokens = self.tokens(documents_of(golden, golden.input), *output.shape[:2])
        cotangents["g"] = torch.where(tokens, cotangents.get("g", torch.zeros_like(output)), 0)
        return sum((made[name] * g).sum() for name, g in cotangents.items())

    @staticmethod
    def each(documents: Documents, model: nn.Module, window: int, u: Tensor, initial: Tensor | None) -> tuple[Tensor, Tensor]:
        """A model over every document alone: its outputs in their places, and the states one after another."""
        kernel, out, states = model(window), torch.zeros_like(u), []
        for n, (row, begin, end) in enumerate(documents):
            own, x = u[row : row + 1, ..., begin:end], None if initial is None else initial[n : n + 1]
            y = convolve(own, kernel[..., : end - begin])
            out[row, ..., begin:end] = (y if x is None else y + model.carried(x, end - begin))[0]
            states.append(model.state(own, x))
        return out, torch.cat(states)
