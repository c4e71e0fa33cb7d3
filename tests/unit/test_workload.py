"""model.py and data: what is accepted, and what is said of the rest."""

from pathlib import Path

import pytest
import torch
from torch import nn

from hwcomp.errors import InputError
from hwcomp.workload import Workload, checked, load_workload, samples, split_batch, top1

X, Y = torch.randn(5, 3), torch.arange(5)
MODEL = """import torch
from torch import nn
def model():
    return nn.Linear(3, 2)
example_inputs = torch.zeros(1, 3)
"""


def same(found: tuple[torch.Tensor, ...], *wanted: torch.Tensor) -> bool:
    return len(found) == len(wanted) and all(a is b for a, b in zip(found, wanted, strict=True))


def test_a_tensor_is_the_one_input() -> None:
    inputs, targets = split_batch(X)
    assert same(inputs, X)
    assert targets is None


@pytest.mark.parametrize("pair", [(X, Y), [X, Y]])
def test_a_pair_is_inputs_and_targets(pair: object) -> None:
    inputs, targets = split_batch(pair)
    assert same(inputs, X)
    assert targets is Y


def test_inputs_of_a_pair_may_be_several() -> None:
    inputs, targets = split_batch(((X, X + 1), Y))
    assert len(inputs) == 2
    assert targets is Y


@pytest.mark.parametrize("batch", [(X,), [X]])
def test_a_tuple_of_one_is_inputs(batch: object) -> None:
    inputs, targets = split_batch(batch)
    assert same(inputs, X)
    assert targets is None


@pytest.mark.parametrize("key", ["label", "labels", "target", "targets"])
def test_a_dict_is_split_by_its_keys(key: str) -> None:
    inputs, targets = split_batch({"image": X, key: Y, "mask": X})
    assert same(inputs, X, X)
    assert targets is Y
    assert split_batch({"image": X})[1] is None


def test_samples_are_cut_to_the_size_of_the_example() -> None:
    example = (torch.zeros(2, 3),)
    found = list(samples([(X, Y), (X[:1], Y[:1]), (X[:4], Y[:4])], example))
    assert [tuple(inputs[0].shape) for inputs, _ in found] == [(2, 3)] * 4
    assert [targets.tolist() for _, targets in found] == [[0, 1], [2, 3], [0, 1], [2, 3]]
    assert torch.equal(found[1][0][0], X[2:4])
    assert [targets for _, targets in samples([X], example)] == [None, None]


def test_samples_that_do_not_fit_are_refused_with_both_shapes() -> None:
    with pytest.raises(InputError, match=r"\(4,\).*\(3,\)"):
        list(samples([torch.zeros(2, 4)], (torch.zeros(1, 3),)))
    with pytest.raises(InputError, match="batch"):
        list(samples([((X, X), Y)], (torch.zeros(1, 3),)))


def test_top1_is_in_percent() -> None:
    assert top1(torch.eye(4), torch.tensor([0, 1, 2, 0])) == 75.0


def workload(**changes: object) -> Workload:
    given = {"name": "n", "model": nn.Linear(3, 2), "example_inputs": (torch.zeros(1, 3),)}
    return Workload(**(given | changes))


def test_a_checked_workload_is_in_eval_mode_with_a_tuple_of_inputs() -> None:
    result = checked(workload(model=nn.Linear(3, 2).train(), example_inputs=X), "it")
    assert not result.model.training
    assert same(result.example_inputs, X)
    assert isinstance(checked(workload(example_inputs=[X]), "it").example_inputs, tuple)


def nan_model() -> nn.Module:
    model = nn.Linear(3, 2)
    nn.init.constant_(model.bias, float("nan"))
    return model


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"model": "resnet"}, "str; it must be a torch.nn.Module"),
        ({"model": nn.Linear(3, 2).half()}, r"'weight' of the model is float16; .*model\.float\(\)"),
        ({"model": nn.Linear(3, 2).double()}, "float64"),
        ({"model": nan_model()}, "'bias' of the model holds NaN"),
        ({"model": nn.Linear(3, 2, device="meta")}, "device 'meta'"),
        ({"example_inputs": ()}, "tuple of tensors"),
        ({"example_inputs": 3}, "found int"),
        ({"example_inputs": (1, 2)}, "tuple of tensors"),
        ({"example_inputs": (X, X.double())}, "example input 1 is float64"),
        ({"example_inputs": (X / 0,)}, "example input 0 holds NaN or infinity"),
    ],
)
def test_what_cannot_be_compiled_is_refused(changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        checked(workload(**changes), "model.py")


def test_inputs_that_are_integers_are_fine() -> None:
    assert checked(workload(example_inputs=(torch.zeros(1, 3, dtype=torch.long),)), "it").example_inputs


def write(folder: Path, text: str) -> str:
    folder.mkdir(exist_ok=True)
    (folder / "model.py").write_text(text)
    return str(folder / "model.py")


def test_a_file_is_loaded_with_all_it_offers(tmp_path: Path) -> None:
    extra = (
        "def metric(outputs, targets):\n    return 7.0\n"
        "def train_data():\n    yield torch.zeros(2, 3), torch.zeros(2)\n"
        "def small():\n    return nn.Linear(3, 1)\n"
    )
    path = write(tmp_path / "net", MODEL + extra)
    whole, small = load_workload(path), load_workload(f"{path}:small")
    assert (whole.name, small.name) == ("net", "small")
    assert small.model.out_features == 1
    assert whole.metric(None, None) == 7.0
    assert whole.train_data is not None
    assert whole.eval_data is None
    assert whole.calibration_data is None


def test_a_file_may_import_its_neighbours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "net_of_this_test.py").write_text("WIDTH = 4\n")
    wide = MODEL.replace("nn.Linear(3, 2)", "nn.Linear(3, WIDTH)")
    path = write(tmp_path, f"from net_of_this_test import WIDTH\n{wide}")
    assert load_workload(path).model.out_features == 4


@pytest.mark.parametrize(
    ("text", "suffix", "sentence"),
    [
        ("def build():\n    pass\n", "", r"no 'model': define a function model\(\).*:NAME \(build\)"),
        ("x = 1\n", "", "no 'model'"),
        (MODEL, ":other", "no 'other'"),
        (MODEL.replace("example_inputs", "inputs"), "", "no 'example_inputs'"),
        ("def model(:\n", "", "line 1: syntax error"),
        ("import no_such_library\n", "", r"no_such_library.*line 1 of model\.py"),
        (MODEL + "1 / 0\n", "", r"ZeroDivisionError.*line 6 of model\.py"),
        (MODEL.replace("return nn.Linear(3, 2)", "raise OSError('no weights')"), "", r"model\(\).*no weights.*line 4"),
        (MODEL.replace("return nn.Linear(3, 2)", "return None"), "", "NoneType; it must be a torch.nn.Module"),
        (MODEL.replace("torch.zeros(1, 3)", "lambda: 1 / 0"), "", r"example_inputs\(\).*ZeroDivisionError"),
    ],
)
def test_a_mistake_in_the_file_is_told_in_one_sentence(tmp_path: Path, text: str, suffix: str, sentence: str) -> None:
    path = write(tmp_path / "net", text)
    with pytest.raises(InputError, match=sentence):
        load_workload(path + suffix)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="hwcomp init"):
        load_workload(str(tmp_path / "model.py"))
    with pytest.raises(InputError, match="not a Python file"):
        load_workload(__file__.replace("test_workload.py", "../../README.md"))
