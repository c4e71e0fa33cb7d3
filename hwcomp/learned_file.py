"""The learned models of a store's devices, each a JSON file beside the store."""

import hashlib
from pathlib import Path

from hwcomp.cost_models.learned import LearnedModel
from hwcomp.stages import write_atomically
from hwcomp.store import Setting


def model_path(store: Path, setting: Setting) -> Path:
    """Return where the learned model of a setting is kept."""
    name = hashlib.sha256(f"{setting.device}\n{setting.runtime}\n{setting.threads}".encode()).hexdigest()[:16]
    return store.parent / f"{store.stem}-models" / f"{name}.json"


def read_model(store: Path, setting: Setting) -> LearnedModel | None:
    """Return the learned model of a setting, or None if there is none.

    Raises:
        InputError: the file is damaged.
    """
    path = model_path(store, setting)
    return LearnedModel.from_json(path.read_text()) if path.is_file() else None


def write_model(store: Path, setting: Setting, model: LearnedModel) -> Path:
    """Keep the learned model of a setting, and return its path."""
    path = model_path(store, setting)
    write_atomically(path, model.to_json().encode())
    return path
