"""fp32 on the CPU: the linear layers of BLIP by the kernels that are fastest on the machine at hand."""

from collections.abc import Sequence

from torch import nn

from services.captioning.blip.model import Blip
from services.captioning.kernels import FOR_AN_IMAGE, FOR_ANY_ROWS, Kernel, fastest, plain
from services.captioning.memory import drop_pages

STEP_ROWS = 3  # the beams of an image


def pack(blip: Blip) -> None:
    """The linear layers of `blip` (fp32, on the CPU) by those that are fastest here, in place.

    The vision encoder takes one image at a time from then on.
    """
    _pack(blip.vision, FOR_AN_IMAGE, blip.vision.positions.shape[1])
    _pack(blip.text, FOR_ANY_ROWS, STEP_ROWS)


def _pack(root: nn.Module, offered: Sequence[Kernel], rows: int) -> None:
    shared = {id(module.weight) for module in root.modules() if isinstance(module, nn.Embedding)}
    linears = [
        (parent, name, child)
        for parent in root.modules()
        for name, child in parent.named_children()
        if isinstance(child, nn.Linear)
    ]
    own = [linear for _, _, linear in linears if id(linear.weight) not in shared]
    kernel = fastest(offered, max(own, key=lambda linear: linear.weight.numel()), rows)
    if kernel is plain:
        return
    for parent, name, linear in linears:
        is_shared = id(linear.weight) in shared
        setattr(parent, name, kernel(linear, 0 if is_shared else rows))
        if not is_shared:
            drop_pages(linear.weight.data_ptr(), linear.weight.nbytes)  # nobody will read them again
