"""A GPU without values: tensors on `cuda` that know their shape, type and device, and whose
contents nobody can ask for.

What waits for a true GPU (`.item()`, the truth of a tensor, indexing by a mask) raises here, and so
does an operation that makes a tensor in the memory of the host.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
import torch
import transformers
from packaging.version import Version
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

DEVICE = "cuda"


needs_quiet_layers = pytest.mark.skipif(
    Version(transformers.__version__) < Version("5.24"),
    reason="wav2vec2 of older transformers asks a number of the host whether to drop a layer, also "
    "where none is dropped, and a fake has none",
)


class OnDeviceAlone(TorchDispatchMode):
    """Refuse operations that leave a tensor on the host, or copy between it and the device.

    A number on the host, as the 0 of `x[mask] = 0`, is handed to a kernel as its argument and waits
    for nothing; copied, it would. Nor does what is empty.
    """

    COPIES = (torch.ops.aten._to_copy, torch.ops.aten.copy_)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        copied = func.overloadpacket in self.COPIES
        for leaf in tree_leaves([result, args] if copied else result):
            if not isinstance(leaf, Tensor) or leaf.device.type == DEVICE:
                continue
            if copied or (leaf.ndim and leaf.numel()):
                raise AssertionError(f"{func} has a tensor on '{leaf.device}'")
        return result


@contextmanager
def fake_gpu() -> Iterator[None]:
    """Let every tensor that is made be a fake one, and refuse those of the host.

    cuDNN asks the driver before it computes an LSTM; without it torch's own kernel is taken, which
    reads the same tensors.
    """
    with torch.backends.cudnn.flags(enabled=False), FakeTensorMode(), OnDeviceAlone():
        yield


def fake_like(x: Tensor) -> Tensor:
    """A tensor of this shape and type on the GPU."""
    return torch.empty(x.shape, dtype=x.dtype, device=DEVICE)


def fake_batch(batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A batch on the GPU."""
    return {name: fake_like(x) for name, x in batch.items()}


def to_fake_gpu(model: nn.Module) -> nn.Module:
    """Move a model, in place."""
    for module in model.modules():
        for name, parameter in list(module._parameters.items()):
            if parameter is not None:
                fake = nn.Parameter(fake_like(parameter), requires_grad=parameter.requires_grad)
                module._parameters[name] = fake
        for name, buffer in list(module._buffers.items()):
            if buffer is not None:
                module._buffers[name] = fake_like(buffer)
        if isinstance(module, nn.RNNBase):  # keeps its weights in a list too
            module._init_flat_weights()
    return model


def walk_backward(loss: Tensor) -> None:
    """`loss.backward()`, by the same derivatives. torch's engine asks the driver for the streams of
    the GPU before it begins; so the graph is walked here, every node after all that read it.
    """
    order: list[Any] = []
    seen: set[Any] = set()
    stack: list[tuple[Any, bool]] = [(loss.grad_fn, False)]
    while stack:
        node, done = stack.pop()
        if done:
            order.append(node)
        elif node is not None and node not in seen:
            seen.add(node)
            stack.append((node, True))
            stack += [(following, False) for following, _ in node.next_functions]
    # gradients of the outputs of a node, by their places
    gradients: dict[Any, dict[int, Tensor]] = defaultdict(dict)
    gradients[loss.grad_fn][0] = torch.ones_like(loss)
    for node in reversed(order):
        given = gradients.pop(node, {})
        if not given:
            continue
        if hasattr(node, "variable"):
            leaf = node.variable
            leaf.grad = given[0] if leaf.grad is None else leaf.grad + given[0]
            continue
        found = node(*(given.get(i) for i in range(len(node._input_metadata))))
        found = found if isinstance(found, tuple) else (found,)
        for (following, place), gradient in zip(node.next_functions, found, strict=True):
            if following is not None and gradient is not None:
                gradient = gradient.sum_to_size(following._input_metadata[place].shape)
                before = gradients[following].get(place)
                gradients[following][place] = gradient if before is None else before + gradient
