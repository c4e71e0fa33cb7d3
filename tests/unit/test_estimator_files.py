"""Estimators by name and from files of the user's: what is loaded, and what is refused."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from hwcomp.errors import InputError
from hwcomp.estimators import Draw, load_estimator


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        ("gumble", {}, "did you mean gumbel?"),
        ("gumbel", {"temperature": 1.0}, "unexpected keyword argument 'temperature'; its options: start"),
        ("gumbel", {"end": 0.0}, "temperature 'end' of estimator 'gumbel' is 0.0; give a positive"),
        ("score_function", {"samples": 1}, "'score_function' has 1 samples; give 2 or more"),
        ("score_function_without_baseline", {"samples": 0}, "has 0 samples; give 1 or more"),
        ("nowhere.py:Mine", {}, "No file 'nowhere.py'"),
    ],
)
def test_what_cannot_be_loaded_is_told(spec: str, options: dict, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        load_estimator(spec, **options)


SHARES = "k: self.scale * v.softmax(0) for k, v in logits.items()"
MINE = '''
from dataclasses import dataclass
import torch
from hwcomp.estimators import Estimator

@dataclass(frozen=True, kw_only=True)
class Mine(Estimator):
    scale: float = 1.0
    mixing = {mixing}

    def coefficients(self, logits, draw):
        return {{{result}}}
'''  # fmt: skip


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    def written(mixing: str = "'outputs'", result: str = SHARES) -> str:
        path = tmp_path / "mine.py"
        path.write_text(MINE.format(mixing=mixing, result=result))
        return str(path)

    return written


def test_an_estimator_of_the_users_own_is_loaded_with_options(write) -> None:
    estimator = load_estimator(f"{write()}:Mine", scale=2.0)
    draw = Draw(progress=0.0, generator=torch.Generator())
    assert float(estimator.coefficients({"a": torch.zeros(3)}, draw)["a"].sum()) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("mixing", "result", "message"),
    [
        ("'filters'", "k: v for k, v in logits.items()", "does not say how sites mix"),
        ("'outputs'", "k: v[:1] for k, v in logits.items()", "for a site of 3 candidates"),
        ("'outputs'", "k: v / 0 for k, v in logits.items()", "for a site of 3 candidates"),
        ("'outputs'", "", "are nothing for a site of 3 candidates"),
        ("'outputs'", "k: logits['other'] for k in logits", "failed on a trial of two sites: KeyError: 'other' (line"),
    ],
)
def test_one_that_does_not_keep_to_the_interface_is_told(write, mixing: str, result: str, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        load_estimator(f"{write(mixing, result)}:Mine")


def test_a_file_without_the_class_is_told(write) -> None:
    path = write()
    with pytest.raises(InputError, match=r"has no class or function 'Other'; give it as .*mine.py:NAME \(Mine\)"):
        load_estimator(f"{path}:Other")
    with pytest.raises(InputError, match="is a file, and what to take from it is not named"):
        load_estimator(path)
