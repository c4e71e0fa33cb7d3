"""Print the saved results as the Markdown tables that the README quotes."""

import math
from typing import Any

from common import read

HEADER = """| network, 224x224 | asked | against ONNX Runtime fp32 | `quantize_static` | against `quantize_static` | \
predicted / measured | cold, warm |
|---|---|---|---|---|---|---|"""


def models_table(results: dict[str, Any]) -> str:
    """Return the table of the six networks."""
    rows = [HEADER]
    for name, row in results["models"].items():
        rows.append(
            f"| {name} | {row['asked']}x | **{row['speedup']:.2f}x** | {row['static_speedup']:.2f}x | "
            f"{row['over_static']:.2f}x | {row['predicted_over_measured']:.3f} | "
            f"{row['cold_s']:.0f} s, {row['warm_s']:.0f} s |"
        )
    ratios = [row["over_static"] for row in results["models"].values()]
    mean = math.exp(sum(math.log(ratio) for ratio in ratios) / len(ratios))
    rows.append(f"\nGeometric mean against `quantize_static`: {mean:.2f}x, smallest {min(ratios):.2f}x.")
    return "\n".join(rows)


def machine_line(results: dict[str, Any]) -> str:
    """Return the machine and date of results."""
    machine = results["machine"]
    isa = "AVX-512 VNNI" if "avx512_vnni" in machine["isa"] else machine["isa"]
    return (
        f"{machine['cpu']} ({isa}), {machine['cores']} cores, {machine['system']}, ONNX Runtime "
        f"{machine['onnxruntime']}, {results['date']}"
    )


def main() -> None:
    """Print everything that is there."""
    if (models := read("compile_models")) is not None:
        print(f"{machine_line(models)}\n\n{models_table(models)}\n")
    if (cifar := read("cifar10")) is not None:
        print(
            f"ResNet-20, CIFAR-10, no labels: {cifar['speedup']:.2f}x, accuracy {cifar['float_accuracy']:.2f} -> "
            f"{cifar['accuracy']:.2f} ({machine_line(cifar)})\n"
        )
    if (start := read("start_up")) is not None:
        print(
            f"hwcomp --help: {start['help_s']:.2f} s; import hwcomp: {start['import_s']:.3f} s; the API beyond torch: "
            f"{start['api_beyond_torch_s']:.2f} s ({machine_line(start)})"
        )


if __name__ == "__main__":
    main()
