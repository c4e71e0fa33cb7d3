"""Boosted regression trees as plain arrays: fitted with scikit-learn, evaluated with numpy alone, kept as JSON."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Index = NDArray[np.int64]

ROUNDS, RATE, LEAVES, LEAST = 100, 0.1, 15, 4
"""Trees, the share of each that is added, its leaves, and the least samples of one."""

DIGITS = 7
"""Of thresholds and values in JSON; the arrays hold no more, so that a round trip changes nothing."""

NODE = ("feature", "threshold", "left", "right", "value")


@dataclass(frozen=True, slots=True, eq=False)
class Trees:
    """A sum of binary trees, their nodes in one table.

    Attributes:
        start: what the sum starts from.
        roots: (trees,) node of each root.
        feature: (nodes,) column that a node looks at.
        threshold: (nodes,) up to which it goes to the left.
        left: (nodes,) node to the left; a leaf goes to itself.
        right: (nodes,) node to the right, likewise.
        value: (nodes,) what a leaf adds.
        depth: steps from a root to the deepest leaf.
    """

    start: float
    roots: Index
    feature: Index
    threshold: Vector
    left: Index
    right: Index
    value: Vector
    depth: int

    def predict(self, features: Vector) -> Vector:
        """Return the sums for features (samples, columns)."""
        rows = np.arange(len(features))[:, None]
        node = np.broadcast_to(self.roots, (len(features), len(self.roots)))
        for _ in range(self.depth):
            goes_left = features[rows, self.feature[node]] <= self.threshold[node]
            node = np.where(goes_left, self.left[node], self.right[node])
        sums: Vector = self.start + self.value[node].sum(axis=1)
        return sums

    def as_data(self) -> dict[str, Any]:
        """Return the trees as JSON holds them."""
        arrays = {name: getattr(self, name).tolist() for name in ("roots", *NODE)}
        return {"start": self.start, "depth": self.depth, **arrays}


def fit_trees(features: Vector, targets: Vector, seed: int) -> Trees:
    """Return trees for features (samples, columns), fitted to the absolute error so that outliers count little."""
    from sklearn.ensemble import HistGradientBoostingRegressor  # noqa: PLC0415 - takes a second to import

    model = HistGradientBoostingRegressor(
        loss="absolute_error",
        max_iter=ROUNDS,
        learning_rate=RATE,
        max_leaf_nodes=LEAVES,
        min_samples_leaf=LEAST,
        early_stopping=False,
        random_state=seed,
    ).fit(features, targets)
    # there is no public way to a histogram-boosted tree; the tests compare ours with scikit-learn's own prediction
    tables = [stage[0].nodes for stage in model._predictors]  # noqa: SLF001
    start = float(np.ravel(model._baseline_prediction)[0])  # noqa: SLF001
    return _joined(start, tables)


def trees_of(data: dict[str, Any], columns: int) -> Trees:
    """Return the trees that JSON holds, for features of some columns.

    Raises:
        ValueError: something is missing, of another type, or points nowhere.
    """
    try:
        roots, feature, left, right = (np.array(data[name], np.int64) for name in ("roots", "feature", "left", "right"))
        threshold, value = (np.array(data[name], np.float64) for name in ("threshold", "value"))
        start, depth = float(data["start"]), int(data["depth"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"trees are incomplete or not numbers ({error!r:.80})") from error
    nodes = len(feature)
    if any(column.shape != (nodes,) for column in (threshold, left, right, value)):
        raise ValueError("columns of the table of trees differ in length")
    ends = ((feature, columns), (left, nodes), (right, nodes), (roots, nodes))
    if any(((pointer < 0) | (pointer >= end)).any() for pointer, end in ends):
        raise ValueError("trees point to nodes or features that are not there")
    finite = np.isfinite(threshold).all() and np.isfinite(value).all() and np.isfinite(start)
    if not (finite and 0 <= depth <= LEAVES):
        raise ValueError("trees hold values that are not finite, or are too deep")
    return Trees(
        start=start,
        roots=roots,
        feature=feature,
        threshold=threshold,
        left=left,
        right=right,
        value=value,
        depth=depth,
    )


def _joined(start: float, tables: list[Any]) -> Trees:
    """Return scikit-learn's tables of nodes as one."""
    roots = np.cumsum([0, *(len(table) for table in tables[:-1])])
    nodes = np.concatenate(tables)
    offset = np.repeat(roots, [len(table) for table in tables])
    is_leaf, itself = nodes["is_leaf"].astype(bool), np.arange(len(nodes))
    return Trees(
        start=start,
        roots=roots.astype(np.int64),
        feature=np.where(is_leaf, 0, nodes["feature_idx"]).astype(np.int64),
        threshold=_rounded(np.where(is_leaf, 0.0, nodes["num_threshold"])),
        left=np.where(is_leaf, itself, nodes["left"] + offset).astype(np.int64),
        right=np.where(is_leaf, itself, nodes["right"] + offset).astype(np.int64),
        value=_rounded(np.where(is_leaf, nodes["value"], 0.0)),
        depth=int(nodes["depth"].max(initial=0)),
    )


def _rounded(values: Vector) -> Vector:
    return np.array([float(f"{value:.{DIGITS}g}") for value in values.tolist()])
