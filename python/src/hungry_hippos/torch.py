"""The stages of an unmodified PyTorch module, captured while it runs.

    with capture(layer, {"q": "forward.q@2", "gated": "output_linear.input", "output": "output"}) as stages:
        layer(u)
    report = check(golden, stages)

A table says where each stage is to be found; the module is not changed:

=====================  ================================================================================
``output``             what the module returns; ``input`` its first argument
``NAME.output``        the same of a submodule; ``NAME.input``
``forward.VARIABLE``   a local variable of the module's ``forward``; ``NAME.forward.VARIABLE`` of a submodule's
``torch.fft.irfft``    what a function of PyTorch returns; ``torch.einsum.input`` its first argument
=====================  ================================================================================

``[i]`` after it takes one of several values returned together. ``@n`` is the n-th value, from 1, where there are
several: of a variable that is assigned to again, a submodule or function that is called again. Without it there must
be one only; the error lists those that there are. A pair ``(where, function)`` brings what was found into the stage's
layout.
"""

from __future__ import annotations

import re
import sys
from types import FrameType
from typing import Any, Callable, Iterable, Iterator, Mapping

import torch
from torch.overrides import TorchFunctionMode, resolve_name

from ._errors import HipposError, UnknownName

#: Where a stage is: in words, or with a function that brings it into its layout.
Where = "str | tuple[str, Callable[[torch.Tensor], torch.Tensor]]"


#: The stages of an H3 layer whose gradients are judged, step by step, where a port has them: ``grads=COTANGENTS``.
COTANGENTS = ("q", "k", "v", "shift_k", "kv", "ssm_out", "gated")


class CaptureError(HipposError):
    """A stage that was not found while the module ran, or found several times."""


class _Source:
    """One row of the table: what is watched, which of its values is taken, and what becomes of it."""

    def __init__(self, stage: str, where: Any) -> None:
        self.stage = stage
        self.change: Callable[[torch.Tensor], torch.Tensor] = lambda x: x
        if isinstance(where, tuple):
            where, self.change = where
        match = re.fullmatch(r"([\w.]+)(?:\[(\d+)\])?(?:@(\d+))?", where)
        if match is None:
            raise CaptureError(f"stage {stage!r}: {where!r} is no place; expected NAME, NAME[i] or NAME@n, as in 'forward.k@3'")
        self.where, self.path = where, match[1]
        self.item = None if match[2] is None else int(match[2])
        self.place = None if match[3] is None else int(match[3])
        self.values: list[torch.Tensor] = []
        #: What the backward pass brought to each value, by its number.
        self.gradients: dict[int, torch.Tensor] = {}
        self.handles: list[Any] | None = None

    def add(self, value: Any) -> None:
        """Keeps a value, as it is now: what is computed in place later does not change it."""
        if self.item is not None and isinstance(value, (tuple, list)) and len(value) > self.item:
            value = value[self.item]
        if not isinstance(value, torch.Tensor):
            if self.item is None and isinstance(value, (tuple, list)) and any(isinstance(x, torch.Tensor) for x in value):
                raise CaptureError(f"stage {self.stage!r}: {self.where!r} is {len(value)} values; say which, as {self.path}[0]")
            return
        if self.handles is not None and value.requires_grad:
            number = len(self.values)
            self.handles.append(value.register_hook(lambda g: self.gradients.__setitem__(number, g.detach().clone())))
        self.values.append(value.detach().clone())

    def gradient(self) -> torch.Tensor:
        """The gradient of the value that is meant."""
        found = self.gradients.get((self.place or 1) - 1)
        if found is None:
            raise CaptureError(f"stage {self.stage!r}: no gradient came to {self.where!r}; name the value that is used further on")
        return self.change(found)

    def taken(self) -> torch.Tensor:
        """The one that is meant."""
        shapes = ", ".join(f"@{n} {tuple(x.shape)}" for n, x in enumerate(self.values, 1))
        if self.place is None and len(self.values) == 1:
            return self.change(self.values[0])
        if self.place is not None and 1 <= self.place <= len(self.values):
            return self.change(self.values[self.place - 1])
        why = "was not seen" if not self.values else f"had {len(self.values)} values: {shapes}"
        raise CaptureError(f"stage {self.stage!r}: {self.where!r} {why}")


class _Functions(TorchFunctionMode):
    """Watches functions of PyTorch by their names."""

    def __init__(self, watched: list[tuple[_Source, str, bool]]) -> None:
        super().__init__()
        self.watched = watched

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = resolve_name(func)
        for source, watched, is_input in self.watched:
            if watched == name:
                source.add(args[0] if is_input and args else result)
        return result


class capture(Mapping[str, torch.Tensor]):
    """The stages of a module while the block runs, by name; afterwards a mapping for ``check``.

    ``names``: for every stage where it is found, as above. ``grads``: also what the backward pass gave, which must
    run within the block: ``grad.PARAMETER`` for every parameter, and ``grad.input`` if the module's input needs a
    gradient. Names of stages in place of True, as ``COTANGENTS``, are those whose gradients are wanted too, as
    ``grad.STAGE``; a function that brings a stage into its layout does the same to its gradient. Gradients must be none
    when the block begins: what is accumulated to is no gradient of this run.

    The module runs as it is, uncompiled (a compiled one has no local variables and calls no hooks). It must be called
    once in the block.

    Raises UnknownName for a submodule that the module has not, or a gradient of what is no stage of the table; and
    CaptureError, when the block ends, for a stage that was not seen, or that no gradient came to.
    """

    def __init__(self, module: torch.nn.Module, names: Mapping[str, Any], *, grads: bool | Iterable[str] = False) -> None:
        of_stages = () if isinstance(grads, bool) else tuple(grads)
        self.module, self.grads = module, grads is True or bool(of_stages)
        self._sources = [_Source(stage, where) for stage, where in names.items()]
        self._stages: dict[str, torch.Tensor] = {}
        self._variables: dict[Any, list[tuple[_Source, str]]] = {}
        self._modules: list[tuple[_Source, torch.nn.Module, bool]] = []
        functions: list[tuple[_Source, str, bool]] = []
        for source in self._sources:
            head, _, last = source.path.rpartition(".")
            if head.startswith("torch") or source.path.startswith("torch."):
                is_input = last == "input"
                functions.append((source, head if is_input or last == "output" else source.path, is_input))
            elif last in ("output", "input"):
                self._modules.append((source, self._submodule(source, head), last == "input"))
            elif head == "forward" or head.endswith(".forward"):
                owner = self._submodule(source, head.removesuffix("forward").removesuffix("."))
                self._variables.setdefault(id(owner), []).append((source, last))
            else:
                self._modules.append((source, self._submodule(source, source.path), False))
        self._functions = _Functions(functions) if functions else None
        self._handles: list[Any] = []
        for stage in of_stages:
            if stage not in names:
                raise UnknownName(f"the gradient of {stage!r} is wanted, and the table has no such stage, but {', '.join(names)}")
        for source in self._sources:
            if source.stage in of_stages:
                source.handles = self._handles
        self._input: Any = None
        self._calls = 0

    def _submodule(self, source: _Source, name: str) -> torch.nn.Module:
        try:
            return self.module.get_submodule(name)
        except AttributeError:
            known = ", ".join(name for name, _ in self.module.named_modules() if name)
            raise UnknownName(
                f"stage {source.stage!r}: {type(self.module).__name__} has no submodule {name!r}, but {known}"
            ) from None

    def __enter__(self) -> "capture":
        if self.grads:
            held = [name for name, p in self.module.named_parameters() if p.grad is not None]
            if held:
                raise CaptureError(f"{held[0]} has a gradient already, which this run's would be added to: zero_grad() first")
        self._handles.append(self.module.register_forward_pre_hook(self._begin, with_kwargs=True))
        for source, module, is_input in self._modules:
            def hook(_: Any, args: Any, kwargs: Any, result: Any, source: _Source = source, is_input: bool = is_input) -> None:
                source.add(next(iter((*args, *kwargs.values())), None) if is_input else result)
            self._handles.append(module.register_forward_hook(hook, with_kwargs=True))
        if self._variables:
            self._before = sys.gettrace()
            sys.settrace(self._trace)
        if self._functions:
            self._functions.__enter__()
        return self

    def __exit__(self, kind: Any, why: Any, trace: Any) -> None:
        if self._functions:
            self._functions.__exit__(kind, why, trace)
        if self._variables:
            sys.settrace(self._before)
        for handle in self._handles:
            handle.remove()
        if kind is not None:
            return
        if self._calls != 1:
            raise CaptureError(f"{type(self.module).__name__} was called {self._calls} times in the block; expected once")
        for source in self._sources:
            self._stages[source.stage] = source.taken()
        if self.grads:
            self._stages.update(self._gradients())

    def _gradients(self) -> Iterator[tuple[str, torch.Tensor]]:
        for name, parameter in self.module.named_parameters():
            if parameter.requires_grad:
                if parameter.grad is None:
                    raise CaptureError(f"{name} got no gradient: run the backward pass within the block")
                yield f"grad.{name}", parameter.grad.detach().clone()
        for source in self._sources:
            if source.handles is not None:
                yield f"grad.{source.stage}", source.gradient()
        if isinstance(self._input, torch.Tensor) and self._input.requires_grad and self._input.grad is not None:
            yield "grad.input", self._input.grad.detach().clone()

    def _begin(self, _: Any, args: Any, kwargs: Any) -> None:
        self._calls += 1
        self._input = next(iter((*args, *kwargs.values())), None)
        if isinstance(self._input, torch.Tensor) and self._input.requires_grad:
            self._input.retain_grad()

    def _trace(self, frame: FrameType, event: str, argument: Any) -> Any:
        """Follows the calls of ``forward`` whose variables are wanted, line by line."""
        if frame.f_code.co_name != "forward":
            return None
        watched = self._variables.get(id(frame.f_locals.get("self")))
        if watched is None:
            return None
        for _, name in watched:
            if name not in frame.f_code.co_varnames + frame.f_code.co_cellvars:
                variables = ", ".join(frame.f_code.co_varnames)
                raise UnknownName(f"{type(frame.f_locals['self']).__name__}.forward has no variable {name!r}, but {variables}")
        seen: dict[str, Any] = {}

        def line(frame: FrameType, event: str, argument: Any) -> Any:
            if event in ("line", "return"):
                variables = frame.f_locals
                for name in {name for _, name in watched}:
                    value = variables.get(name)
                    if value is not seen.get(name):
                        seen[name] = value
                        for source in (source for source, other in watched if other == name):
                            source.add(value)
            return line

        return line

    def __getitem__(self, stage: str) -> torch.Tensor:
        return self._stages[stage]

    def __iter__(self) -> Iterator[str]:
        return iter(self._stages)

    def __len__(self) -> int:
        return len(self._stages)


#: Where the official layer (HazyResearch/H3, src/models/ssm/h3.py) has its stages.
OFFICIAL_H3: dict[str, Any] = {
    "q": "forward.q@2",
    "k": "forward.k@2",
    "v": "forward.v@2",
    "shift_kernel": "forward.ssm_k_kernel@2",
    "shift_k": "forward.k@3",
    "kv": "forward.kv",
    "ssm_kernel": "forward.ssm_kernel@2",
    "ssm_out": "forward.y@2",
    "gated": "output_linear.input",
    "output": "output",
}

#: Where transformers' Mamba-2 layer (modeling_mamba2.py, Mamba2Mixer, on a CPU, without a cache) has its stages. It never
#: computes the decays ``a`` by themselves, nor ``y`` before D is added; states are in its cache alone.
TRANSFORMERS_MAMBA2: dict[str, Any] = {
    "zxbcdt": "in_proj.output",
    "xBC_conv": ("forward.hidden_states_B_C@3", lambda x: x.transpose(1, 2)),
    "dt": "torch.clamp",
    "y_d": "forward.scan_result",
    "gated": "norm.forward.hidden_states@2",
    "normed": "norm.output",
    "output": "output",
}
