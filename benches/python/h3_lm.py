"""A language model of H3 blocks in PyTorch, written from the formulas of chapters 7, 17 and 24: what a careful
user of torch would train, with nothing of the official modules.

    python h3_lm.py FILE     the loss of a golden file with targets (head_dim 1, bilinear, H3 alone), next to
                             the one it holds; exit 1 if they are further apart than rounding

Every convolution is an FFT of twice the length, every diagonal kernel a sum of exponentials, as in the official
code on a CPU.
"""

import math
import sys

import torch
from torch import nn
from torch.nn import functional


def causal(u, kernel):
    """The causal convolution of (batch, d, L) with a kernel (d, L)."""
    length = u.shape[-1]
    n = 2 * length
    spectrum = torch.fft.rfft(u, n=n) * torch.fft.rfft(kernel, n=n)
    return torch.fft.irfft(spectrum, n=n)[..., :length]


class H3(nn.Module):
    """The layer of chapter 7 with head_dim 1, a model a channel, bilinear."""

    def __init__(self, d, d_state):
        super().__init__()
        modes = d_state // 2
        for name in ("q_proj", "k_proj", "v_proj", "output_linear"):
            setattr(self, name, nn.Linear(d, d))
        self.shift_b = nn.Parameter(functional.one_hot(torch.zeros(d, dtype=torch.long), d_state).float())
        self.shift_c = nn.Parameter((2 * torch.rand(d, d_state) - 1) / d_state**0.5)
        self.shift_d = nn.Parameter(torch.randn(d))
        low, high = math.log(0.001), math.log(0.1)
        self.log_dt = nn.Parameter(low + (high - low) * torch.rand(d))
        self.b = nn.Parameter(torch.tensor([1.0, 0.0]).repeat(d, modes, 1))
        self.c = nn.Parameter(torch.randn(d, modes, 2) / 2**0.5)
        self.inv_a_real = nn.Parameter(torch.full((d, modes), math.log(0.5)))
        self.a_imag = nn.Parameter((math.pi * torch.arange(modes)).repeat(d, 1))
        self.d = nn.Parameter(torch.randn(d))

    # The official names of the parameters, and what of them the optimizer spares weight decay.
    NAMES = {
        "ssm_k_kernel.kernel.B": "shift_b", "ssm_k_kernel.kernel.C": "shift_c", "ssm_k_D": "shift_d",
        "kernel.kernel.log_dt": "log_dt", "kernel.kernel.B": "b", "kernel.kernel.C": "c",
        "kernel.kernel.inv_A_real": "inv_a_real", "kernel.kernel.A_imag": "a_imag", "D": "d"}
    UNDECAYED = ("shift_b", "log_dt", "b", "inv_a_real", "a_imag")

    def shift_kernel(self, length):
        """f_j = sum_n C_n B_(n-j), zero beyond the window."""
        taps = self.shift_b.shape[-1]
        n = 2 * taps
        spectrum = torch.fft.rfft(self.shift_c, n=n) * torch.fft.rfft(self.shift_b, n=n).conj()
        kernel = torch.fft.irfft(spectrum, n=n)[..., :min(taps, length)]
        return functional.pad(kernel, (0, length - kernel.shape[-1]))

    def diagonal_kernel(self, length):
        """2 Re sum_n C_n b_n a_n^j."""
        dt = self.log_dt.exp().unsqueeze(-1)
        half = torch.complex(-self.inv_a_real.exp(), self.a_imag) * (0.5 * dt)
        weight = torch.view_as_complex(self.c) * torch.view_as_complex(self.b) * dt / (1 - half)
        log_a = torch.log((1 + half) / (1 - half))
        powers = torch.exp(log_a.unsqueeze(-1) * torch.arange(length, device=dt.device))
        return 2 * torch.einsum("hn,hnl->hl", weight, powers).real

    def forward(self, u):
        q, k, v = (proj(u).transpose(1, 2) for proj in (self.q_proj, self.k_proj, self.v_proj))
        length = u.shape[1]
        k = causal(k, self.shift_kernel(length)) + self.shift_d.unsqueeze(-1) * k
        kv = k * v
        out = causal(kv, self.diagonal_kernel(length)) + self.d.unsqueeze(-1) * kv
        return self.output_linear((q * out).transpose(1, 2))


class Block(nn.Module):
    def __init__(self, d, d_inner, d_state):
        super().__init__()
        self.norm1, self.mixer, self.norm2 = nn.LayerNorm(d), H3(d, d_state), nn.LayerNorm(d)
        self.fc1, self.fc2 = nn.Linear(d, d_inner), nn.Linear(d_inner, d)

    def forward(self, u):
        u = u + self.mixer(self.norm1(u))
        return u + self.fc2(functional.gelu(self.fc1(self.norm2(u)), approximate="tanh"))


class H3LM(nn.Module):
    """The model of chapter 17 without attention and positions; the head is the embedding."""

    def __init__(self, vocabulary, d, blocks, d_state, d_inner, dropout=0.0):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, d)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(Block(d, d_inner, d_state) for _ in range(blocks))
        self.norm = nn.LayerNorm(d)
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)

    def forward(self, ids):
        u = self.dropout(self.embedding(ids))
        for block in self.blocks:
            u = block(u)
        return functional.linear(self.norm(u), self.embedding.weight)

    def loss(self, ids, targets):
        logits = self(ids)
        return functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-100)

    def groups(self, decay):
        """The official groups: the SSMs' own parameters without weight decay."""
        marked, unmarked = [], []
        for name, parameter in self.named_parameters():
            is_marked = ".mixer." in name and name.rsplit(".", 1)[1] in H3.UNDECAYED
            (marked if is_marked else unmarked).append(parameter)
        return [{"params": unmarked, "weight_decay": decay}, {"params": marked, "weight_decay": 0.0}]


def of_file(path):
    """The model of a case file in float64, and all tensors of the file."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        meta = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    choices = {"head_dim": "1", "disc": "bilinear", "real_type": "exp", "l_max": "none", "attn_layer_idx": "[]"}
    for key, only in choices.items():
        if meta.get(key, only) != only:
            raise ValueError(f"{path}: {key} {meta[key]}; this model has {only}")
    sizes = (int(meta[key]) for key in ("padded_vocab", "d_model", "n_layer", "d_state", "d_inner"))
    model = H3LM(*sizes).double()
    ours = dict(model.named_parameters())

    def take(official, name):
        with torch.no_grad():
            parameter = ours.pop(name)
            parameter.copy_(tensors[official].reshape(parameter.shape))

    take("backbone.embeddings.word_embeddings.weight", "embedding.weight")
    for part in ("weight", "bias"):
        take(f"backbone.ln_f.{part}", f"norm.{part}")
    for i in range(len(model.blocks)):
        theirs, block = f"backbone.layers.{i}", f"blocks.{i}"
        for part in ("weight", "bias"):
            for name in ("norm1", "norm2"):
                take(f"{theirs}.{name}.{part}", f"{block}.{name}.{part}")
            for name in ("fc1", "fc2"):
                take(f"{theirs}.mlp.{name}.{part}", f"{block}.{name}.{part}")
            for name in ("q_proj", "k_proj", "v_proj", "output_linear"):
                take(f"{theirs}.mixer.{name}.{part}", f"{block}.mixer.{name}.{part}")
        for official, name in H3.NAMES.items():
            take(f"{theirs}.mixer.{official}", f"{block}.mixer.{name}")
    assert not ours, f"not in the file: {list(ours)}"
    return model.eval(), tensors


def loss_apart(path):
    """How far the loss of a golden file is from the one it holds."""
    model, tensors = of_file(path)
    with torch.no_grad():
        loss = model.loss(tensors["input_ids"], tensors["targets"])
    return abs(loss.item() - tensors["loss"].item())


if __name__ == "__main__":
    apart = loss_apart(sys.argv[1])
    print(f"the loss is {apart:.1e} from the golden one")
    sys.exit(not apart <= 1e-12)
