"""Do the libraries compute what PyTorch computes with the same weights?"""

from typing import Any

import torch
from case import Setting
from cases import bundle
from library import Library, images, libraries, reference
from torch import Tensor

LARGEST = {"float32": 1e-3, "float16": 2e-2}
"""Relative distance from float32 that is still rounding: float16 has 11 bits, and errors grow from layer to layer."""


def run(setting: Setting, network: str) -> dict[str, Any]:
    """Return the relative distance of each library of a network; the float16 of PyTorch is a yardstick.

    Raises:
        ArithmeticError: a library is further off than rounding explains; the sentence has all distances.
    """
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    device, found = setting.device, {}
    batches = {one["batch"] for one in bundle()["libraries"] if (one["network"], one["device"]) == (network, device)}
    model = reference(network, device)
    with torch.inference_mode():
        for batch in sorted(batches):
            x = images(network, batch, device)
            expected = model(x).float().cpu()
            for name, path in libraries(network, batch, device).items():
                found[f"{name}_b{batch}"] = _compared(expected, Library(path, x).output())
        half = reference(network, device).half()
        found[f"eager_float16_b{batch}"] = _compared(expected, half(x.half()).float().cpu())
    far = [name for name, one in found.items() if one["distance"] > LARGEST["float32" if "32" in name else "float16"]]
    if far:
        raise ArithmeticError(f"Outputs differ in {', '.join(far)}: {found}")
    return found


def _compared(expected: Tensor, outputs: Tensor) -> dict[str, float]:
    distance = torch.linalg.norm(outputs - expected) / torch.linalg.norm(expected)
    return {"distance": float(distance), "same_class": float((outputs.argmax(1) == expected.argmax(1)).float().mean())}
