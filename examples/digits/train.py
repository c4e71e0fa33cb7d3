"""Train the digits network and write the checkpoint that ``model.py`` loads: a minute or two on a CPU.

python examples/digits/train.py
"""

import argparse
import time
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812
from model import CHECKPOINT, DigitsNet, normalise, read_split
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

BATCH = 64
PAD = 4


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Shift each image of (N, 1, 32, 32) by up to four pixels, one of the original 8x8 image."""
    n, _, height, width = images.shape
    padded = F.pad(images, (PAD, PAD, PAD, PAD))
    top, left = torch.randint(0, 2 * PAD + 1, (2, n, 1, 1), generator=generator)
    rows = torch.arange(height).view(1, height, 1) + top
    columns = torch.arange(width).view(1, 1, width) + left
    return padded.permute(0, 2, 3, 1)[torch.arange(n).view(n, 1, 1), rows, columns].permute(0, 3, 1, 2)


def accuracy(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Return top-1 accuracy in percent."""
    network.eval()
    with torch.inference_mode():
        hits = sum(
            int((network(normalise(x)).argmax(1) == y).sum())
            for x, y in zip(images.split(500), labels.split(500), strict=True)
        )
    return 100.0 * hits / len(labels)


def main() -> None:
    """Run the schedule: SGD with Nesterov momentum, one cycle of the learning rate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--peak-rate", type=float, default=0.1)
    parser.add_argument("--weight-decay", type=float, default=5e-4)
    parser.add_argument("--start", type=Path, help="checkpoint to start from instead of random weights")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=CHECKPOINT)
    options = parser.parse_args()

    torch.manual_seed(options.seed)
    images, labels = read_split("train")
    network = DigitsNet().to(memory_format=torch.channels_last)
    if options.start is not None:
        network.load_state_dict(load_file(options.start))
    steps = options.epochs * (len(images) // BATCH)
    optimiser = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9, nesterov=True)
    optimiser.param_groups[0]["weight_decay"] = options.weight_decay
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, options.peak_rate, total_steps=steps, pct_start=0.2)

    generator = torch.Generator().manual_seed(options.seed)
    for epoch in range(options.epochs):
        start = time.perf_counter()
        network.train()
        order = torch.randperm(len(images), generator=generator)
        for index in order[: len(order) // BATCH * BATCH].split(BATCH):
            x = normalise(augment(images[index], generator)).contiguous(memory_format=torch.channels_last)
            loss = F.cross_entropy(network(x), labels[index])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        seconds = time.perf_counter() - start
        print(f"epoch {epoch + 1}/{options.epochs}: last loss {loss.item():.3f}, {seconds:.1f} s", flush=True)

    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, options.out)
    print(f"test accuracy {accuracy(network, *read_split('test')):.2f} %, written to {options.out.name}")


if __name__ == "__main__":
    main()
