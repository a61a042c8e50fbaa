"""The Mamba-2 layer as a PyTorch module with official parameter names, differentiable, SSD by its masked quadratic form; from
states, over documents.

    from hungry_hippos import check, suite
    from hungry_hippos.examples.torch_mamba2 import Mamba2
    from hungry_hippos.torch import capture

    golden = suite()["84-mamba2"]
    layer, u, loss = Mamba2.of(golden)
    with capture(layer, Mamba2.stages(golden), grads=True) as stages:
        loss(layer(u)).backward()
    print(check(golden, stages))
"""

from __future__ import annotations

from typing import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .._golden import Golden


def places(golden: Golden, rows: int, length: int) -> Tensor:
    """The number of the document that each token (rows, L) is of: its row, or where ``cu_seqlens`` has it."""
    if "cu_seqlens" not in golden:
        return torch.arange(rows)[:, None].expand(rows, length)
    ends = torch.from_numpy(golden["cu_seqlens"])[1:]
    return torch.bucketize(torch.arange(length), ends, right=True)[None]


def ssd(x: Tensor, dt: Tensor, log_a: Tensor, B: Tensor, C: Tensor, place: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """y (B, L, H, P) and the states (documents, H, P, N) after the last tokens.

    x (B, L, H, P), dt (B, L, H), log_a (B, L, H) or (B, L, H, N), B and C (B, L, G, N); ``place`` (B, L) says which document a
    token is of, ``state`` (documents, H, P, N) what came before. y = (L o C B^T) (dt x), where L_ij is the product of the decays
    from j + 1 to i, and 0 between documents.
    """
    heads = x.shape[2]
    B, C = (z.repeat_interleave(heads // z.shape[2], 2) for z in (B, C))
    log_a = log_a if log_a.ndim == 4 else log_a[..., None].expand(*log_a.shape, B.shape[-1])
    # Sums over the decays between two tokens, not differences of sums: these would be 0/0 where a decay is 0.
    length, x = x.shape[1], dt[..., None] * x
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    after = torch.where(causal.tril(-1)[..., None, None], log_a[:, :, None], 0.0).cumsum(1)  # (B, i, j, H, N)
    related = causal & (place[:, :, None] == place[:, None, :])
    mask = torch.where(related[..., None, None], after.exp(), 0.0)
    y = torch.einsum("bihn,bijhn,bjhn,bjhp->bihp", C, mask, B, x)
    # What a document began with: a product of all decays since its first token.
    first = F.pad(place[:, 1:] != place[:, :-1], (1, 0), value=True)
    begins = torch.where(first, torch.arange(length), 0).cummax(1).values
    since = after.gather(2, begins[:, :, None, None, None].expand(-1, -1, 1, *after.shape[3:]))[:, :, 0]
    decay = (since + log_a.gather(1, begins[..., None, None].expand_as(log_a))).exp()
    y = y + torch.einsum("bihn,bihn,bihpn->bihp", C, decay, state[place])
    last = F.pad(place[:, 1:] != place[:, :-1], (0, 1), value=True)
    b, i = last.nonzero(as_tuple=True)
    states = torch.einsum("kjhn,kjhn,kjhp->khpn", mask[b, i], B[b], x[b]) + decay[b, i][:, :, None] * state
    return y, states


class Ssd(nn.Module):
    """The operator of a golden file of kind ``ssd``; what it is given are its parameters."""

    STAGES = {"y": "output", "final_state": "forward.final_state"}

    def __init__(self, golden: Golden, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        for name in ("x", "dt", "log_a", "B", "C", "D", "initial_state"):
            if name in golden:
                self.register_parameter(name, nn.Parameter(torch.from_numpy(golden[name]).to(dtype)))
        self.place = places(golden, *self.x.shape[:2])
        self.cotangents = {n: torch.from_numpy(golden[n]).to(dtype) for n in ("g", "g.final_state") if n in golden}

    def forward(self) -> Tensor:
        dt = self.dt if hasattr(self, "dt") else torch.ones(self.x.shape[:3])
        count = int(self.place.max()) + 1
        state = self.initial_state if hasattr(self, "initial_state") else torch.zeros(count, *self.x.shape[2:], self.B.shape[-1])
        y, final_state = ssd(self.x, dt, self.log_a, self.B, self.C, self.place, state)
        self.loss = (final_state * self.cotangents.get("g.final_state", torch.zeros(()))).sum()
        return y + self.D[:, None] * self.x if hasattr(self, "D") else y

    def backward(self, y: Tensor) -> None:
        """The gradients of <g, y> + <g.final_state, final_state>."""
        (self.loss + (y * self.cotangents.get("g", torch.zeros(()))).sum()).backward()


class Mamba2(nn.Module):
    """The layer; its state dict is that of the official one."""

    #: Where its stages are, for ``capture``, those that a layer with its choices has.
    STAGES = {
        "zxbcdt": "in_proj.output",
        **{name: f"forward.{name}" for name in ("conv_state", "xBC_conv", "a", "y", "ssm_state", "y_d", "gated", "normed")},
        "dt": "forward.dt@2",
        "output": "output",
    }

    def __init__(self, p: Mapping[str, Tensor], choices: Mapping[str, str], place: Tensor, states: Mapping[str, Tensor]) -> None:
        super().__init__()
        dtype = p["D"].dtype
        for name in ("in_proj", "out_proj"):
            out, into = p[f"{name}.weight"].shape
            self.add_module(name, nn.Linear(into, out, bias=f"{name}.bias" in p, dtype=dtype))
        channels, _, K = p["conv1d.weight"].shape
        self.conv1d = nn.Conv1d(channels, channels, K, groups=channels, bias="conv1d.bias" in p, dtype=dtype)
        for name in ("dt_bias", "A_log", "D"):
            self.register_parameter(name, nn.Parameter(p[name]))
        self.norm = nn.ParameterDict({"weight": nn.Parameter(p["norm.weight"])} if "norm.weight" in p else {})
        self.load_state_dict(p)
        self.choices, self.place, self.states = choices, place, states

    @classmethod
    def stages(cls, golden: Golden) -> dict[str, str]:
        """Where the stages of a golden file are."""
        return {name: where for name, where in cls.STAGES.items() if name in golden}

    @classmethod
    def of(cls, golden: Golden, dtype: torch.dtype = torch.float32) -> tuple["Mamba2", Tensor, Callable[[Tensor], Tensor]]:
        """The layer of a golden file, its input, which takes a gradient, and the loss of an output, which its cotangents make."""
        tensor = lambda x: torch.from_numpy(x).to(dtype)
        p = {name: tensor(x) for name, x in golden.parameters.items()}
        u = tensor(golden.input).requires_grad_()
        place = places(golden, *u.shape[:2])
        count = int(place.max()) + 1
        shapes = {"conv_state": p["conv1d.weight"][:, 0].shape, "ssm_state": golden["ssm_state"].shape[1:]}
        states = {
            name: tensor(golden[f"initial_{name}"]) if f"initial_{name}" in golden else torch.zeros(count, *shape, dtype=dtype)
            for name, shape in shapes.items()
        }
        layer = cls(p, golden.metadata, place, states)
        cotangents = {name: tensor(golden[name]) for name in ("g", "g.conv_state", "g.ssm_state") if name in golden}

        def loss(output: Tensor) -> Tensor:
            made = {"g": output, "g.conv_state": layer.final["conv_state"], "g.ssm_state": layer.final["ssm_state"]}
            return sum((made[name] * g).sum() for name, g in cotangents.items())

        return layer, u, loss

    def convolved(self, xBC: Tensor) -> tuple[Tensor, Tensor]:
        """The causal convolution, and the last K columns before it of every document, those of ``states`` before its first."""
        K = self.conv1d.weight.shape[-1]
        first = F.pad(self.place[:, 1:] != self.place[:, :-1], (1, 0), value=True)
        at = torch.arange(xBC.shape[1])
        since = at - torch.where(first, at, 0).cummax(1).values  # tokens of the document before this one
        before = self.states["conv_state"][self.place]  # (B, L, channels, K)
        columns = []
        for back in range(K):  # the column that many tokens ago: of the row, or of the state
            shifted = F.pad(xBC, (0, 0, back, 0))[:, : xBC.shape[1]]
            of_state = (K + since - back).clamp(0, K - 1)
            of_state = before.gather(3, of_state[..., None, None].expand(*before.shape[:3], 1))[..., 0]
            columns.insert(0, torch.where((since >= back)[..., None], shifted, of_state))
        window = torch.stack(columns, -1)
        out = (window * self.conv1d.weight[:, 0]).sum(-1)
        last = F.pad(self.place[:, 1:] != self.place[:, :-1], (0, 1), value=True)
        return out if self.conv1d.bias is None else out + self.conv1d.bias, window[last]

    def forward(self, u: Tensor) -> Tensor:
        heads, groups = len(self.dt_bias), int(self.choices["ngroups"])
        d_ssm = heads * int(self.choices["headdim"])
        channels, d_mlp = self.conv1d.weight.shape[0], self.out_proj.in_features - d_ssm
        z0, x0, z, xBC, dt = self.in_proj(u).split([d_mlp, d_mlp, d_ssm, channels, heads], -1)
        convolved, conv_state = self.convolved(xBC)
        xBC_conv = F.silu(convolved)
        x, B, C = xBC_conv.split([d_ssm, (channels - d_ssm) // 2, (channels - d_ssm) // 2], -1)
        x, B, C = x.unflatten(-1, (heads, -1)), B.unflatten(-1, (groups, -1)), C.unflatten(-1, (groups, -1))
        low, high = map(float, self.choices["dt_limit"].split(","))
        dt = F.softplus(dt + self.dt_bias).clamp(low, high)  # linear above 20
        log_a = -self.A_log.exp() * dt
        a = log_a.exp()
        y, ssm_state = ssd(x, dt, log_a, B, C, self.place, self.states["ssm_state"])
        self.final = {"conv_state": conv_state, "ssm_state": ssm_state}
        y_d = y + self.D.reshape(heads, -1) * x

        o, before = y_d.flatten(2), self.choices.get("norm_before_gate") == "true"
        gated = None if before else o * F.silu(z)
        normed = self.normalized(o if before else gated, z if before else None)
        return self.out_proj(torch.cat([F.silu(z0) * x0, normed], -1) if d_mlp else normed)

    def normalized(self, o: Tensor, gate: Tensor | None) -> Tensor:
        """The norm over the channels of each group, if there is one, and a gate after it."""
        if "weight" in self.norm:
            of_groups = o.unflatten(-1, (int(self.choices["norm_groups"]), -1))
            scale = (of_groups.pow(2).mean(-1, keepdim=True) + float(self.choices["norm_eps"])).rsqrt()
            o = (of_groups * scale).flatten(2) * self.norm["weight"]
        return o if gate is None else o * F.silu(gate)
