"""Which attention back end runs where, and what flash-attn is told; no GPU is needed to know."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from virnucpro.embedding.runner import embed
from virnucpro.errors import InputError
from virnucpro.models.attention import HALF, choose_attention
from virnucpro.models.dnabert_s import load_dnabert_s

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def ampere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder where modules are found first, and no flash-attn but what a test puts there."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "flash_attn"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] == "flash_attn"]:
        del sys.modules[name]


@pytest.mark.parametrize("dtype", HALF)
def test_auto_takes_a_kernel_only_for_heads_that_it_takes(ampere: None, dtype: torch.dtype) -> None:
    """Sizes that are no multiple of 8, or more than 256, are ESM-2's of no published size, but possible."""
    assert choose_attention("auto", CUDA, dtype, 64) == "varlen"
    assert choose_attention("auto", CUDA, dtype, 256) == "varlen"
    assert {choose_attention("auto", CUDA, dtype, d) for d in (4, 12, 20, 264)} == {"sdpa"}
    with pytest.raises(InputError, match="takes heads of 8, 16, … 256 numbers, and this model's have 12"):
        choose_attention("varlen", CUDA, dtype, 12)


def test_auto_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert choose_attention("auto", CUDA, torch.float16, 64) == "sdpa"
    assert choose_attention("auto", CPU, torch.float16, 64) == "plain"


def test_alibi_goes_with_flash_and_not_with_varlen(ampere: None, packages: Path) -> None:
    (packages / "flash_attn.py").write_text("flash_attn_varlen_func = print")
    assert choose_attention("auto", CUDA, torch.float16, 64, alibi=True) == "sdpa"
    assert choose_attention("flash", CUDA, torch.float16, 64, alibi=True) == "flash"
    with pytest.raises(InputError, match="varlen: takes no ALiBi"):
        choose_attention("varlen", CUDA, torch.float16, 64, alibi=True)


def test_flash_attn_that_is_not_there(ampere: None, packages: Path) -> None:
    with pytest.raises(InputError, match=r"No module named 'flash_attn'.*--no-build-isolation flash-attn=="):
        choose_attention("flash", CUDA, torch.float16, 64)


def test_flash_attn_4_alone(ampere: None, packages: Path) -> None:
    """It puts its files into `flash_attn/cute`; the folder around them is a package without a content."""
    (packages / "flash_attn" / "cute").mkdir(parents=True)
    (packages / "flash_attn" / "cute" / "__init__.py").write_text("def flash_attn_varlen_func(): ...")
    with pytest.raises(InputError, match="cannot import name 'flash_attn_varlen_func' from 'flash_attn'"):
        choose_attention("flash", CUDA, torch.float16, 64)


def test_flash_attn_of_another_torch(ampere: None, packages: Path) -> None:
    (packages / "flash_attn").mkdir()
    words = "flash_attn_2_cuda.so: undefined symbol: _ZN3c105ErrorC2E"
    (packages / "flash_attn" / "__init__.py").write_text(f"raise ImportError({words!r})")
    with pytest.raises(InputError, match="undefined symbol"):
        choose_attention("flash", CUDA, torch.float16, 64)


# What flash-attn's own documentation says of these arguments, written out for one sequence after the other.
AS_DOCUMENTED = """
import torch

def flash_attn_varlen_func(
    q, k, v, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k, dropout_p=0.0, softmax_scale=None,
    causal=False, window_size=(-1, -1), softcap=0.0, alibi_slopes=None,
):
    assert cu_seqlens_q.dtype == cu_seqlens_k.dtype == torch.int32
    assert isinstance(max_seqlen_q, int) and isinstance(max_seqlen_k, int)
    assert alibi_slopes is None or alibi_slopes.dtype == torch.float32 and alibi_slopes.shape == q.shape[1:2]
    out = torch.empty_like(q)
    bounds = cu_seqlens_q.tolist()
    for start, end in zip(bounds, bounds[1:]):
        assert end - start <= max_seqlen_q
        keys, values = k[start:end].transpose(0, 1), v[start:end].transpose(0, 1)
        scores = q[start:end].transpose(0, 1) @ keys.mT * q.shape[-1] ** -0.5
        if alibi_slopes is not None:
            i = torch.arange(end - start)
            scores = scores - alibi_slopes[:, None, None] * (i[:, None] - i).abs()
        out[start:end] = (scores.softmax(-1) @ values).transpose(0, 1)
    return out
"""


def test_dnabert_s_tells_flash_attn_its_slopes(dnabert_folder: Path, packages: Path) -> None:
    """flash-attn runs on no CPU; this stands in for it, by its documentation."""
    (packages / "flash_attn.py").write_text(AS_DOCUMENTED)
    model = load_dnabert_s(dnabert_folder, CPU)
    batch = ["ACGT" * 30, "TTGACA" * 9, "GATTACA" * 20, "ACGT" * 30]
    truth = embed(model, batch, 4096)
    model.attention = "flash"
    assert abs(embed(model, batch, 4096) - truth).max() < 1e-5


def test_what_dnabert_s_makes_of_the_choice_for_esm2(
    dnabert_folder: Path, ampere: None, packages: Path
) -> None:
    """A kernel without ALiBi, or without float32, is ESM-2's alone; what is taken must be there."""
    assert load_dnabert_s(dnabert_folder, CPU, attention="varlen").attention == "plain"
    assert load_dnabert_s(dnabert_folder, CPU, attention="flash").attention == "plain"
    assert load_dnabert_s(dnabert_folder, CPU, attention="sdpa").attention == "sdpa"
    half = load_dnabert_s(dnabert_folder, CPU, torch.float16)
    assert half.slopes.dtype == torch.float32
    with pytest.raises(InputError, match="--attention flash: needs half precision and a GPU"):
        load_dnabert_s(dnabert_folder, CPU, torch.float16, "flash")
    with pytest.raises(InputError, match="flash-attn 2 cannot be used"):
        load_dnabert_s(dnabert_folder, CUDA, torch.float16, "flash")


def test_sums_of_products_stay_in_float32() -> None:
    """Whoever can run a pass has imported what says so."""
    products = torch.backends.cuda.matmul
    assert products.allow_fp16_reduced_precision_reduction is False
    assert products.allow_bf16_reduced_precision_reduction is False
    assert not torch.backends.cuda.cudnn_sdp_enabled()
