"""Generation speed: `hippos lm generate` against the official PyTorch model, turn by turn.

    cargo build --release
    target/release/hippos lm init --preset 125m --out /tmp/125m.safetensors
    python lm_generation.py OFFICIAL WEIGHTS [--tokens 64] [--prompt 32] [--rounds 5] [--threads 2]

OFFICIAL is a folder that holds `src` of HazyResearch/H3 and `flash_attn` of the flash-attention commit it
names as its submodule. Both models have the weights of WEIGHTS, float32, and continue one prompt
greedily; that the tokens are the same is checked. Medians of the rounds are printed. Needs torch,
einops, opt_einsum, scipy and safetensors; what the official code imports beside these and does not
need on a CPU is stubbed below, with no arithmetic in it.
"""

import argparse
import importlib.machinery
import re
import statistics
import subprocess
import sys
import time
import types
from pathlib import Path

import torch
from safetensors import safe_open

HIPPOS = Path(__file__).resolve().parents[2] / "target/release/hippos"


def stub(name, **members):
    """A module of this name with these members."""
    module = types.ModuleType(name)
    module.__dict__.update(members)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None)
    sys.modules[name] = module


class StochasticDepth(torch.nn.Module):
    """Probability 0: the identity."""

    def __init__(self, p, mode):
        super().__init__()
        assert p == 0

    def forward(self, x):
        return x


def load_official(folder, path):
    """The official model with the weights and the configuration of a file."""
    stub("torchvision")
    stub("torchvision.ops", StochasticDepth=StochasticDepth)
    stub("transformers")
    stub("transformers.models")
    stub("transformers.models.gpt2")
    stub("transformers.models.gpt2.configuration_gpt2", GPT2Config=object)
    stub("transformers.generation", GreedySearchDecoderOnlyOutput=types.SimpleNamespace,
         SampleDecoderOnlyOutput=types.SimpleNamespace)
    stub("pytorch_lightning")
    stub("pytorch_lightning.utilities", rank_zero_only=lambda f: f)
    stub("pytorch_lightning.utilities.rank_zero", rank_zero_only=lambda f: f)
    # The package's own __init__ and CUDA parts are left out.
    package = types.ModuleType("flash_attn")
    package.__path__ = [str(Path(folder) / "flash_attn")]
    sys.modules["flash_attn"] = package
    stub("flash_attn.utils.distributed", reduce_scatter=None, all_reduce=None)
    sys.path.insert(0, folder)
    from src.models.ssm_seq import SSMLMHeadModel

    with safe_open(path, "pt") as file:
        meta = file.metadata()
        weights = {name: file.get_tensor(name) for name in file.keys()}
    attention = [int(i) for i in re.findall(r"\d+", meta["attn_layer_idx"])]
    model = SSMLMHeadModel(
        int(meta["d_model"]),
        n_layer=int(meta["n_layer"]),
        d_inner=int(meta["d_inner"]),
        vocab_size=int(meta["padded_vocab"]),
        ssm_cfg={"mode": "diag", "measure": "diag-lin", "d_state": int(meta["d_state"]),
                 "head_dim": int(meta["head_dim"])},
        attn_layer_idx=attention or None,
        attn_cfg={"num_heads": int(meta["num_heads"])} if attention else None,
    )
    weights["lm_head.weight"] = weights["backbone.embeddings.word_embeddings.weight"]
    model.load_state_dict(weights)
    return model.eval()


def official_run(model, prompt, tokens):
    """The ids, and the seconds of the prompt and of the tokens after the first."""
    from flash_attn.utils.generation import InferenceParams

    total = prompt.shape[1] + tokens
    state = InferenceParams(max_sequence_len=total, max_batch_size=1)
    ids = []
    with torch.inference_mode():
        begun = time.perf_counter()
        logits = model(prompt, inference_params=state).logits[:, -1]
        ids.append(int(logits.argmax()))
        first = time.perf_counter()
        state.sequence_len_offset = prompt.shape[1]
        for _ in range(tokens - 1):
            step = torch.tensor([[ids[-1]]])
            logits = model(step, inference_params=state).logits[:, -1]
            ids.append(int(logits.argmax()))
            state.sequence_len_offset += 1
        end = time.perf_counter()
    return ids, first - begun, end - first


def hippos_run(weights, prompt, tokens, threads):
    """As official_run."""
    command = [HIPPOS, "lm", "generate", weights, "--tokens", str(tokens), "--time",
               "--threads", str(threads), "--prompt", ",".join(str(i) for i in prompt[0].tolist())]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    first = float(re.search(r"prompt of \d+ ([\d.]+) s", run.stderr)[1])
    rest = float(re.search(r"tokens ([\d.]+) s:", run.stderr)[1])
    memory = re.search(r"(\d+) MB at most", run.stderr)
    return [int(i) for i in run.stdout.split()], first, rest, memory and int(memory[1])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("official")
    parser.add_argument("weights")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--prompt", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model = load_official(args.official, args.weights)
    generator = torch.Generator().manual_seed(0)
    prompt = torch.randint(0, 50257, (1, args.prompt), generator=generator)
    official_run(model, prompt, 2)
    seconds = {"official": [], "hippos": []}
    for _ in range(args.rounds):
        ids, first, rest = official_run(model, prompt, args.tokens)
        seconds["official"].append((first, rest))
        ours, first, rest, memory = hippos_run(args.weights, prompt, args.tokens, args.threads)
        seconds["hippos"].append((first, rest))
        same = sum(a == b for a, b in zip(ids, ours))
        print(f"round: official {seconds['official'][-1][1]:.3f} s, hippos {rest:.3f} s, "
              f"{same} of {len(ids)} tokens the same", flush=True)
    steps = args.tokens - 1
    print(f"torch {torch.__version__}, {args.threads} threads, prompt of {args.prompt}, "
          f"{args.tokens} tokens, medians of {args.rounds} rounds")
    rates = {}
    for name, runs in seconds.items():
        first, rest = (statistics.median(run[i] for run in runs) for i in (0, 1))
        rates[name] = steps / rest
        spread = [steps / run[1] for run in runs]
        print(f"{name:9} prompt {first:.3f} s   {1e3 * rest / steps:7.2f} ms a token   "
              f"{rates[name]:6.2f} tokens/s ({min(spread):.2f} to {max(spread):.2f})")
    print(f"hippos / official: {rates['hippos'] / rates['official']:.2f} times the speed; "
          f"hippos took {memory} MB at most")


if __name__ == "__main__":
    main()
