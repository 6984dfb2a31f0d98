"""Linear layers that keep matrix units busy, and pass over memory as rarely as can be.

oneDNN reads weights fastest in a blocked layout of its own, and applies GELU, or adds to a residual, while a
tile of the product is still in cache. `prepack` changes the layout once, when a model is loaded for float32
on CPU.

cuBLAS, as torch calls it, adds a product to the residual or to a bias, never to both. `carry_bias` frees a
layer that adds to the residual of its bias, when a model is loaded for half precision on a GPU. Elsewhere,
and in training, the layers are torch's own.
"""

import platform

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_TOKENS = 4_096  # rows that the blocked layout is chosen for: a full batch on CPU
_CARRIED = 8.0  # GELU and an average leave it as it is, and dividing by it costs no digit


class Linear(nn.Linear):
    """`nn.Linear`, with the two steps that may follow it: `gelu(x)` and `add_to(residual, x)`."""

    _packed: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self._packed is None:
            return super().forward(x)
        product: Tensor = torch.ops.mkldnn._linear_pointwise(x, self._packed, self.bias, "none", [], "")
        return product

    def gelu(self, x: Tensor) -> Tensor:
        """GELU (erf) of the product."""
        if self._packed is None:
            return F.gelu(super().forward(x))
        product: Tensor = torch.ops.mkldnn._linear_pointwise(x, self._packed, self.bias, "gelu", [], "none")
        return product

    def add_to(self, residual: Tensor, x: Tensor) -> Tensor:
        """`residual` plus the product; in place, in one rounding, where the bias is carried."""
        if self._packed is None:
            if self.bias is None:
                return residual.addmm_(x, self.weight.t())
            return residual + super().forward(x)
        added: Tensor = torch.ops.mkldnn._linear_pointwise.binary(x, residual, self._packed, self.bias, "add")
        return added

    def prepack(self) -> None:
        """Keep the weights in oneDNN's layout alone: no gradients, no state to save, CPU for good."""
        self._packed = torch.ops.mkldnn._reorder_linear_weight(self.weight.detach(), _TOKENS)
        del self.weight


def prepack(model: nn.Module) -> None:
    """Prepack every `Linear` of a model that will run in float32 on CPU, where that is possible."""
    one_dnn = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if one_dnn and platform.machine() in ("x86_64", "AMD64"):
        for layer in model.modules():
            if isinstance(layer, Linear):
                layer.prepack()


def carry_bias(before: Linear, after: Linear, width: int, parts: int = 1) -> None:
    """Move the bias of `after` into its weights: each of the `parts` of what `before` gives becomes `width`
    numbers wider, of which the first of the last part, which goes on to `after`, is always the same."""
    rows = before.out_features // parts
    weight = F.pad(before.weight.view(parts, rows, -1), (0, 0, 0, width)).flatten(0, 1)
    bias = F.pad(before.bias.view(parts, rows), (0, width))
    bias[-1, rows] = _CARRIED
    wider = F.pad(after.weight, (0, width))
    wider[:, rows] = after.bias / _CARRIED
    before.weight, before.bias = (nn.Parameter(x, requires_grad=False) for x in (weight, bias.flatten()))
    after.weight = nn.Parameter(wider, requires_grad=False)
    after.register_parameter("bias", None)
