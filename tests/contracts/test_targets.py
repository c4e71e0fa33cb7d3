"""What every target file must keep, and how a target that is wrong or unknown is refused."""

import re
from pathlib import Path

import pytest

from hwcomp import target
from hwcomp.errors import InputError
from hwcomp.ops import FUNCTIONS, MODULES
from hwcomp.plugins import names
from hwcomp.scheme import FLOAT, QUANTS

TARGETS = names("hwcomp.targets", ".toml")
OPERATORS = {*MODULES.values(), *FUNCTIONS.values()}
CLASSES = {"conv1x1", "conv3x3", "depthwise", "linear", "other"}

HIGHEST_EFFICIENCY = 1.4
"""Share of the peak; above 1 where Winograd saves multiplications that are still counted."""

NUMBER_LINE = re.compile(r"^\s*[\w.\"-]+\s*=\s*[-+.]?\d")
WITH_SOURCE = re.compile(r"#\s*\S.{9,}$")


def test_there_are_targets() -> None:
    """The folder is found."""
    assert TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_it_parses_under_its_file_name(name: str) -> None:
    """`load` finds it, and it is not this machine."""
    loaded = target.load(name)
    assert loaded.name == name
    assert loaded.description
    assert not loaded.local
    assert name in target.available()


@pytest.mark.parametrize("name", TARGETS)
def test_every_number_has_a_source(name: str) -> None:
    """A line that holds a number ends with a comment that says where it is from."""
    lines = [line for line in target.source(name).splitlines() if NUMBER_LINE.match(line)]
    assert lines
    assert [line for line in lines if not WITH_SOURCE.search(line)] == []


@pytest.mark.parametrize("name", TARGETS)
def test_schemes_and_operators_are_known(name: str) -> None:
    """Nothing under [schemes] is misspelt, and float is always a candidate."""
    loaded = target.load(name)
    assert set(loaded.schemes) <= set(QUANTS)
    for operators in loaded.schemes.values():
        assert set(operators) <= OPERATORS
        assert len(set(operators)) == len(operators)
    assert all(loaded.candidates(op)[0] == FLOAT for op in OPERATORS)


@pytest.mark.parametrize("name", TARGETS)
def test_efficiencies_are_complete_and_possible(name: str) -> None:
    """Every class of operator has its share of the peak."""
    efficiency = target.load(name).hardware.efficiency
    assert set(efficiency) == CLASSES
    assert all(0 < share <= HIGHEST_EFFICIENCY for share in efficiency.values())


@pytest.mark.parametrize("name", TARGETS)
def test_integers_are_not_slower_on_paper(name: str) -> None:
    """Otherwise no scheme would make sense there."""
    hardware = target.load(name).hardware
    assert hardware.int8_op_per_cycle >= hardware.float_flop_per_cycle


@pytest.mark.parametrize("name", TARGETS)
def test_it_loads_by_path(name: str, tmp_path: Path) -> None:
    """A copy of a shipped file is a target of the user's own, under the file's new name."""
    path = tmp_path / "my_board.toml"
    path.write_text(target.source(name))
    assert target.load(str(path)) == target.load(name).model_copy(update={"name": "my_board"})


@pytest.mark.parametrize("alias", sorted(target.ALIASES))
def test_aliases_lead_somewhere(alias: str) -> None:
    """An alias stands for a shipped target."""
    assert target.load(alias) == target.load(target.ALIASES[alias])


@pytest.mark.parametrize("name", TARGETS)
def test_a_misspelt_name_is_corrected(name: str) -> None:
    """The error offers what was probably meant."""
    with pytest.raises(InputError, match=re.escape(name)):
        target.load(f"{name}x")


def test_a_missing_file_is_named() -> None:
    """A path is never taken for a name."""
    with pytest.raises(InputError, match=r"no/such/board\.toml"):
        target.load("no/such/board.toml")


def test_halves_and_integers_do_not_mix() -> None:
    """The narrow format is one for the whole network."""
    for name, change in (("nvidia_h200", ('"float16"', '"int8"')), ("x86_64", ('"uint8"', '"float16"'))):
        text = target.source(name).replace(f"activation = {change[0]}", f"activation = {change[1]}")
        with pytest.raises(InputError, match="go together; give both or none"):
            target.parse(text, name, "board.toml")


@pytest.mark.parametrize(
    ("pattern", "replacement", "named"),
    [
        (r"(?m)^cores = \d+", "cores = 0", "hardware.cores"),
        (r"(?m)^cores = ", "coers = ", "hardware"),
        (r"(?m)^clock_ghz = [\d.]+", 'clock_ghz = "fast"', "hardware.clock_ghz"),
        (r"(?m)^activation = \S+", 'activation = "int5"', "activation"),
        (r"(?m)^weight_bits = \d+", "weight_bits = 9", "weight_bits"),
        (r"(?m)^depthwise = ", "deepwise = ", "hardware.efficiency"),
        (r"(?m)^(int8|float16) = ", "int9 = ", "int9"),
        (r"(?m)^machine = .*$", "machine", "TOML"),
    ],
)
@pytest.mark.parametrize("name", TARGETS)
def test_a_wrong_field_is_named(name: str, pattern: str, replacement: str, named: str) -> None:
    """The error says which file and which field."""
    text, count = re.subn(pattern, replacement, target.source(name), count=1)
    assert count == 1
    with pytest.raises(InputError, match=re.escape(named)) as caught:
        target.parse(text, name, "board.toml")
    assert "board.toml" in str(caught.value)


def test_host_is_this_machine() -> None:
    """Its cores are those this process may use, and it alone can be measured."""
    host = target.detect_host()
    assert host.local
    assert host.name == target.HOST
    assert host.hardware.cores == target.usable_cores()
    assert target.load(target.HOST) == host
