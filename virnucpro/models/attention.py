"""Packed batches (no padding) and attention over them.

A packed batch is one flat token axis, sequence after sequence. Neighbours of equal length form a run.
Sorted by length, a batch of a large input is one or two runs. No sequence ever sees another.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from virnucpro.defaults import ATTENTION
from virnucpro.errors import InputError

FLASH_ATTN = "flash-attn==2.8.3.post2"  # as the extra in pyproject.toml
HALF = (torch.float16, torch.bfloat16)
_SCORES = 1 << 20  # attention scores in flight on CPU: 4 MB, best of 0.5 to 8 MB on cores with 1 MB of L2
# The variable-length kernels: compute capability of Ampere or later, heads of so many numbers at most.
_FIRST_WITH_FLASH, _LARGEST_HEAD = (8, 0), 256

# For every pass of this process. Partial sums of half-precision products stay in float32, as they were when
# fidelity was measured; and SDPA takes none of cuDNN's kernels, which are planned anew for each length.
torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
torch.backends.cuda.enable_cudnn_sdp(False)


@dataclass(frozen=True)
class Packed:
    """Sequences of tokens, one after the other.

    `tokens` (T,) int64; `positions` (T,) int64, of each token in its own sequence, from 0; `starts` (n + 1,)
    int32, where each sequence begins, and T; `runs`: (number of sequences, tokens in each) of equal
    neighbours, known without asking a device.
    """

    tokens: Tensor
    positions: Tensor
    starts: Tensor
    runs: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, sequences: Sequence[Sequence[int]], device: torch.device) -> Self:
        """Pack tokenized sequences in the order given; fewest runs when equal lengths are neighbours."""
        parts = [np.asarray(tokens, dtype=np.int64) for tokens in sequences]
        lengths = np.array([len(part) for part in parts], dtype=np.int64)
        return cls.of_flat(np.concatenate([*parts, np.empty(0, dtype=np.int64)]), lengths).to(device)

    @classmethod
    def of_flat(cls, tokens: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]) -> Self:
        """The batch, on CPU, of `tokens` (T,) that are sequences of `lengths` (n,), one after the other."""
        ends = np.cumsum(lengths)
        positions = np.arange(len(tokens)) - np.repeat(ends - lengths, lengths)
        runs = tuple((len(list(same)), length) for length, same in groupby(lengths.tolist()))
        starts = torch.from_numpy(np.concatenate([[0], ends]).astype(np.int32))
        return cls(torch.from_numpy(tokens), torch.from_numpy(positions), starts, runs)

    def to(self, device: torch.device, non_blocking: bool = False) -> Self:
        """The batch on a device."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Self:
        """The batch in page-locked memory, from where a GPU copies it without stopping."""
        return self._each(Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> Self:
        return type(self)(change(self.tokens), change(self.positions), change(self.starts), self.runs)

    @property
    def count(self) -> int:
        """Sequences in the batch."""
        return sum(count for count, _ in self.runs)

    @property
    def size(self) -> int:
        """Tokens in the batch."""
        return len(self.tokens)

    def halves(self) -> "tuple[Packed, Packed]":
        """Two batches of half the sequences each; a batch of one cannot be halved. For batches on CPU."""
        lengths = np.repeat([length for _, length in self.runs], [count for count, _ in self.runs])
        middle = len(lengths) // 2
        cut = int(lengths[:middle].sum())
        tokens = self.tokens.numpy()
        return Packed.of_flat(tokens[:cut], lengths[:middle]), Packed.of_flat(tokens[cut:], lengths[middle:])

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence."""
        return max((length for _, length in self.runs), default=0)

    def split(self, x: Tensor) -> list[Tensor]:
        """Views of `x` (T, …), one a run, each (sequences, tokens, …)."""
        sizes = [n * length for n, length in self.runs]
        parts = zip(torch.split(x, sizes), self.runs, strict=True)
        return [part.view(n, length, *x.shape[1:]) for part, (n, length) in parts]


def attend(
    q: Tensor, k: Tensor, v: Tensor, batch: Packed, bias: Tensor | None = None, by: str = "sdpa"
) -> Tensor:
    """Softmax attention within each sequence: q, k, v (T, heads, d) -> (T, heads * d).

    `by` is a settled name. `bias` (heads, L, L), L at least the longest sequence, is added to the scaled
    scores. `flash` takes ALiBi's slopes (heads,) float32 in its place, `varlen` none.
    """
    return _BACK_ENDS[by](q, k, v, batch, bias).flatten(1)


def _plain(q: Tensor, k: Tensor, v: Tensor, batch: Packed, bias: Tensor | None) -> Tensor:
    """Attention as it is defined, one sequence at a time, as many rows of scores at once as stay in cache.

    Nothing is copied to be aligned, and on a CPU with few cores it is the fastest for proteins.
    """
    out = torch.empty_like(v)
    start = 0
    for length in (length for count, length in batch.runs for _ in range(count)):
        end = start + length
        keys, values = k[start:end].permute(1, 2, 0), v[start:end].transpose(0, 1)
        step = max(_SCORES // (q.shape[1] * length), 1)
        for first in range(start, end, step):
            rows = slice(first, min(first + step, end))
            if bias is None:
                added, share = q.new_zeros(()), 0.0
            else:
                added, share = bias[:, first - start : rows.stop - start, :length], 1.0
            queries = q[rows].transpose(0, 1)
            scores = torch.baddbmm(added, queries, keys, beta=share, alpha=q.shape[2] ** -0.5)
            out[rows] = torch.bmm(scores.softmax(-1), values).transpose(0, 1)
        start = end
    return out


def _sdpa(q: Tensor, k: Tensor, v: Tensor, batch: Packed, bias: Tensor | None) -> Tensor:
    """One call a run of equal lengths: dense, on any device, in any dtype."""
    rows = []
    for q_run, k_run, v_run in zip(batch.split(q), batch.split(k), batch.split(v), strict=True):
        length = q_run.shape[1]
        mask = None if bias is None else bias[:, :length, :length]
        out = F.scaled_dot_product_attention(
            q_run.transpose(1, 2), k_run.transpose(1, 2), v_run.transpose(1, 2), attn_mask=mask
        )
        rows.append(out.transpose(1, 2).flatten(0, 1))
    return rows[0] if len(rows) == 1 else torch.cat(rows)


def _varlen(q: Tensor, k: Tensor, v: Tensor, batch: Packed, bias: Tensor | None) -> Tensor:
    """torch's kernel over all sequences at once: half precision on GPU.

    As `torch.nn.attention.varlen` calls it, without the custom operator around it, which loads torch._dynamo.
    """
    assert bias is None
    starts, longest = batch.starts, batch.longest
    out: Tensor = torch.ops.aten._flash_attention_forward(
        q, k, v, starts, starts, longest, longest, 0.0, False, False
    )[0]
    return out


def _flash(q: Tensor, k: Tensor, v: Tensor, batch: Packed, slopes: Tensor | None) -> Tensor:
    """flash-attn's, the same; minus slope times distance is its own ALiBi, where nothing is causal."""
    starts, longest = batch.starts, batch.longest
    out: Tensor = _flash_function()(q, k, v, starts, starts, longest, longest, alibi_slopes=slopes)
    return out


def _flash_function() -> Callable[..., Tensor]:
    """Raises `InputError` where flash-attn is absent, was built for another torch, or is flash-attn 4 alone,
    whose folder has the same name and not this function."""
    try:
        from flash_attn import flash_attn_varlen_func
    except ImportError as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"--attention flash: flash-attn 2 cannot be used ({reason}); where CUDA's nvcc is: "
            f"pip install wheel packaging ninja, then pip install --no-build-isolation {FLASH_ATTN}"
        ) from None
    function: Callable[..., Tensor] = flash_attn_varlen_func
    return function


_BACK_ENDS = {"plain": _plain, "sdpa": _sdpa, "varlen": _varlen, "flash": _flash}
_KERNELS = ("varlen", "flash")


def choose_attention(
    name: str, device: torch.device, dtype: torch.dtype, head_dim: int, alibi: bool = False
) -> str:
    """Settle `auto`: plain on CPU; on GPU torch's variable-length kernel where it can run, else SDPA.

    `head_dim` numbers a head; `alibi`: the model has a bias, which torch's kernel does not take. Raises
    `InputError` for a back end asked for by name that cannot run here.
    """
    on_card = (
        device.type == "cuda"
        and dtype in HALF
        and torch.cuda.get_device_capability(device) >= _FIRST_WITH_FLASH
    )
    fits = head_dim % 8 == 0 and head_dim <= _LARGEST_HEAD
    if name == "auto":
        return "plain" if device.type == "cpu" else "varlen" if on_card and fits and not alibi else "sdpa"
    if name not in ATTENTION:
        raise InputError(f"--attention {name}: not one of {', '.join(ATTENTION)}")
    if name in _KERNELS and not on_card:
        raise InputError(
            f"--attention {name}: needs half precision and a GPU of the Ampere kind or later, "
            f"not {device.type} with {dtype}; leave it at auto, or take sdpa or plain"
        )
    if name in _KERNELS and not fits:
        raise InputError(
            f"--attention {name}: takes heads of 8, 16, … {_LARGEST_HEAD} numbers, and this model's have "
            f"{head_dim}; leave it at auto, or take sdpa or plain"
        )
    if name == "varlen" and alibi:
        raise InputError("--attention varlen: takes no ALiBi; leave it at auto, or take flash, sdpa or plain")
    if name == "flash":
        _flash_function()
    return name
