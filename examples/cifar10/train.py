"""Train a ResNet on all CIFAR-10 training images and write the checkpoint that ``model.py`` loads.

    HWCOMP_CIFAR10=cifar10_jpeg.npz python examples/cifar10/train.py --epochs 30

An interrupted run goes on from its last finished epoch when the same command is given again.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from cifar10_data import ARCHIVE, BATCH, augment, is_available, normalise, read_split
from model import ResNet, checkpoint
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


def mix(x: Tensor, y: Tensor, alpha: float, generator: torch.Generator) -> tuple[Tensor, Tensor, float]:
    """Blend images (N, C, H, W) with others ([Zhang2018]_, mixup): return them, the other labels, and the own share."""
    if alpha == 0:
        return x, y, 1.0
    share = float(np.random.default_rng(int(torch.randint(2**31, (1,), generator=generator))).beta(alpha, alpha))
    order = torch.randperm(len(x), generator=generator)
    return share * x + (1 - share) * x[order], y[order], share


def accuracy(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Return top-1 accuracy in percent."""
    network.eval()
    with torch.inference_mode():
        hits = sum(
            int((network(normalise(x)).argmax(1) == y).sum())
            for x, y in zip(images.split(500), labels.split(500), strict=True)
        )
    return 100.0 * hits / len(labels)


def main() -> None:  # noqa: PLR0915 - a script, read from top to bottom
    """Run the schedule: SGD with Nesterov momentum, one cycle of the learning rate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=20, choices=(20, 32, 56, 110))
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--peak-rate", type=float, default=0.1)
    parser.add_argument("--weight-decay", type=float, default=2e-4)
    parser.add_argument("--mixup", type=float, default=0.0, help="alpha of the Beta distribution; 0 for none")
    parser.add_argument("--average", type=float, default=0.0, help="decay of the average of weights; 0 for none")
    parser.add_argument("--start", type=Path, help="checkpoint to start from instead of random weights")
    parser.add_argument(
        "--bf16", action="store_true", help="train in mixed precision; twice as fast where the CPU has it"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="checkpoint to write; beside this script if not given")
    options = parser.parse_args()
    if not is_available():
        parser.error(f"{ARCHIVE} is not set: point it at the archive (see README.md beside this script)")
    out = options.out or checkpoint(options.layers)

    torch.manual_seed(options.seed)
    images, labels = read_split("train")
    test = read_split("test")
    network = ResNet(options.layers).to(memory_format=torch.channels_last)
    if options.start is not None:
        network.load_state_dict(load_file(options.start))
    steps = options.epochs * (len(images) // BATCH)
    optimiser = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9, nesterov=True)
    optimiser.param_groups[0]["weight_decay"] = options.weight_decay
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, options.peak_rate, total_steps=steps, pct_start=0.2)

    decay = options.average
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True) if decay else None
    progress = out.with_suffix(".progress.pt")
    first = 0
    if progress.exists():
        state = torch.load(progress, weights_only=True)
        network.load_state_dict(state["network"])
        optimiser.load_state_dict(state["optimiser"])
        schedule.load_state_dict(state["schedule"])
        first = state["epoch"]
        if average is not None:
            average.load_state_dict(state["average"])
    for epoch in range(first, options.epochs):
        generator = torch.Generator().manual_seed(options.seed * 100_003 + epoch)
        start = time.perf_counter()
        network.train()
        order = torch.randperm(len(images), generator=generator)
        for index in order[: len(order) // BATCH * BATCH].split(BATCH):
            x = normalise(augment(images[index], generator)).contiguous(memory_format=torch.channels_last)
            mixed, other, share = mix(x, labels[index], options.mixup, generator)
            with torch.autocast("cpu", torch.bfloat16, enabled=options.bf16):
                scores = network(mixed)
                loss = share * F.cross_entropy(scores, labels[index]) + (1 - share) * F.cross_entropy(scores, other)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            if average is not None:
                average.update_parameters(network)
        state = {"network": network.state_dict(), "optimiser": optimiser.state_dict()}
        if average is not None:
            state["average"] = average.state_dict()
        torch.save(state | {"schedule": schedule.state_dict(), "epoch": epoch + 1}, progress)
        print(
            f"epoch {epoch + 1}/{options.epochs}: last loss {loss.item():.3f}, {time.perf_counter() - start:.0f} s",
            flush=True,
        )

    final = network if average is None else average.module
    save_file({k: v.contiguous() for k, v in final.state_dict().items()}, out)
    progress.unlink(missing_ok=True)
    print(f"test accuracy {accuracy(final, *test):.2f} %, written to {out.name}")


if __name__ == "__main__":
    main()
