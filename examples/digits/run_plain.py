"""Run a compiled digits network with nothing but ONNX Runtime and NumPy: hwcomp is not needed where it is deployed."""

import sys

import numpy as np
import onnxruntime


def main() -> None:
    """Load the file that is named on the command line and print what it gives for an empty picture."""
    session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
    (name,) = (item.name for item in session.get_inputs())
    (scores,) = session.run(None, {name: np.zeros((1, 1, 32, 32), np.float32)})
    print("  scores of the ten digits for an empty picture:", np.round(scores[0], 2).tolist())


if __name__ == "__main__":
    main()
