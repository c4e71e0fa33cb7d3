"""What known profiles of whole networks say of each kernel."""

from dataclasses import dataclass

import pytest

from hwcomp.cost_models.lookup import Lookup
from hwcomp.entries import Profile, as_profile, kernel_us
from hwcomp.kernel import BOUNDARIES, Kernel, Kernels
from hwcomp.lowering.onnxruntime import Owner
from hwcomp.space import Edge, SearchSpace, Site

BOTH = ("float", "int8")


@dataclass(frozen=True)
class Network:
    """A space and its kernels."""

    space: SearchSpace
    kernels: Kernels


def network(sources: dict[str, list[str]], elements: dict[str, int], *, same: tuple[str, ...] = ()) -> Network:
    """Return sites that read the tensors given; those named ``same`` have equal kernels."""
    edges = [
        Edge(tensor=tensor, elements=size, readers=tuple(n for n, read in sources.items() if tensor in read))
        for tensor, size in elements.items()
    ]
    edges = [edge if edge.readers else Edge(tensor=edge.tensor, elements=edge.elements, readers=("output",))
             for edge in edges]  # fmt: skip
    sites = {
        name: {
            choice: Kernel(op="conv2d", scheme=choice, inputs=(), output=None, detail="same" if name in same else name)
            for choice in BOTH
        }
        for name in sources
    }
    tensors = {
        name: {op: Kernel(op=op, scheme="uint8", inputs=((size,),), output=(size,)) for op in BOUNDARIES}
        for name, size in elements.items()
    }
    return Network(
        SearchSpace(sites=tuple(Site(name=n, op="conv2d", candidates=BOTH) for n in sources), edges=tuple(edges)),
        Kernels(sites=sites, tensors=tensors),
    )


def site(name: str, choice: str) -> str:
    return Kernel(op="conv2d", scheme=choice, inputs=(), output=None, detail=name).key


def tensor(op: str, size: int) -> str:
    return Kernel(op=op, scheme="uint8", inputs=((size,),), output=(size,)).key


CHAIN = network({"a": ["x"], "b": ["a"]}, {"x": 100, "a": 200, "b": 300})


def profile(choices: dict[str, str], sites: dict[str, float], tensors: dict[str, float]) -> Profile:
    return Profile(name="", assignment=choices, site_us=sites, tensor_us=tensors)


FLOAT = profile({"a": "float", "b": "float"}, {"a": 10, "b": 20}, {})
INT8 = profile({"a": "int8", "b": "int8"}, {"a": 4, "b": 6}, {"x": 1, "b": 2})
THEN_FLOAT = profile({"a": "int8", "b": "float"}, {"a": 4, "b": 25}, {"x": 1, "a": 3})
THEN_INT8 = profile({"a": "float", "b": "int8"}, {"a": 10, "b": 6}, {"a": 1.5, "b": 2})
ALL = [FLOAT, INT8, THEN_FLOAT, THEN_INT8]


def test_sites_are_charged_from_the_purest_profile() -> None:
    """A float site from the float network, an integer one from the network in integers."""
    slow = profile({"a": "int8", "b": "float"}, {"a": 40, "b": 250}, {"x": 1, "a": 3})
    found = kernel_us([slow, *ALL], CHAIN)
    assert found[site("a", "float")] == 10
    assert found[site("b", "float")] == 20
    assert found[site("a", "int8")] == 4
    assert found[site("b", "int8")] == 6 + 2  # with the conversion of its output, which is always there


def test_conversions_are_charged_from_the_mixed_networks() -> None:
    found = kernel_us(ALL, CHAIN)
    assert found[tensor("quantize", 100)] == pytest.approx(1)
    assert found[tensor("quantize", 200)] == pytest.approx(1.5)
    assert found[tensor("dequantize", 200)] == pytest.approx(3 + 5)  # the float reader took 5 longer than among floats
    assert found[tensor("dequantize", 300)] == pytest.approx(0)  # counted in the site


@pytest.mark.parametrize("index", range(len(ALL)))
def test_a_table_of_them_predicts_every_profile_as_it_was_measured(index: int) -> None:
    table = Lookup(rows=kernel_us(ALL, CHAIN)).cost_table(CHAIN.space, CHAIN.kernels)
    assert table.predict_us(ALL[index].assignment) == pytest.approx(ALL[index].total_us)


def test_a_slower_reader_is_charged_once_however_often_it_reads() -> None:
    """An operator that multiplies a tensor with itself is one reader."""
    space = SearchSpace(
        sites=CHAIN.space.sites,
        edges=(
            Edge(tensor="x", elements=100, readers=("a",)),
            Edge(tensor="a", elements=200, readers=("b", "b")),
            Edge(tensor="b", elements=300, readers=("output",)),
        ),
    )
    assert kernel_us(ALL, Network(space, CHAIN.kernels))[tensor("dequantize", 200)] == pytest.approx(3 + 5)


def test_a_reader_in_integers_is_not_charged_to_a_conversion_back_to_float() -> None:
    """Of a tensor with two readers only the float one can be slowed by a dequantisation."""
    branches = network({"a": ["x"], "b": ["a"], "c": ["a"]}, {"x": 100, "a": 200, "b": 300, "c": 400})
    profiles = [
        profile({"a": "float", "b": "float", "c": "float"}, {"a": 10, "b": 20, "c": 30}, {}),
        profile({"a": "int8", "b": "int8", "c": "int8"}, {"a": 4, "b": 6, "c": 8}, {}),
        profile({"a": "int8", "b": "float", "c": "int8"}, {"a": 4, "b": 27, "c": 90}, {"a": 3}),
    ]
    assert kernel_us(profiles, branches)[tensor("dequantize", 200)] == pytest.approx(3 + 7)


def test_no_conversion_is_negative() -> None:
    """A reader may be faster behind it, and a layout that was changed in the purest network need not be."""
    layout = profile({"a": "int8", "b": "int8"}, {"a": 4, "b": 6}, {"x": 1, "a": 2, "b": 2})
    faster = profile({"a": "int8", "b": "float"}, {"a": 4, "b": 12}, {"x": 1, "a": 0.5})
    assert kernel_us([FLOAT, INT8, faster], CHAIN)[tensor("dequantize", 200)] == pytest.approx(0.5)
    assert kernel_us([FLOAT, layout, faster], CHAIN)[tensor("dequantize", 200)] == 0.0


def test_equal_kernels_count_by_their_median() -> None:
    """One disturbed site among five of the same shape changes nothing; a mean would."""
    names = ["a", "b", "c", "d", "e"]
    sources = {name: [before] for name, before in zip(names, ["x", *names], strict=False)}
    line = network(sources, dict.fromkeys(["x", *names], 100), same=tuple(names))
    times = {"a": 10.0, "b": 11.0, "c": 12.0, "d": 13.0, "e": 500.0}
    found = kernel_us([profile(dict.fromkeys(names, "float"), times, {})], line)
    assert found == {site("same", "float"): 12.0}


def test_what_no_profile_ran_is_absent() -> None:
    assert set(kernel_us([FLOAT], CHAIN)) == {site("a", "float"), site("b", "float")}
    found = kernel_us([FLOAT, INT8], CHAIN)
    assert tensor("quantize", 100) in found
    assert tensor("quantize", 200) not in found
    assert tensor("dequantize", 200) not in found


def test_a_site_that_the_runtime_optimised_away_takes_nothing() -> None:
    assert kernel_us([profile({"a": "float", "b": "float"}, {"b": 20}, {})], CHAIN)[site("a", "float")] == 0


def test_profiles_are_sorted_by_owner() -> None:
    times = {Owner(kind="site", name="a"): 3.0, Owner(kind="tensor", name="a"): 0.5, Owner(kind="site", name="b"): 2.0}
    made = as_profile("mixed", {"a": "int8", "b": "float"}, times)
    assert made.site_us == {"a": 3.0, "b": 2.0}
    assert made.tensor_us == {"a": 0.5}
    assert made.total_us == 5.5
    assert (made.name, made.assignment) == ("mixed", {"a": "int8", "b": "float"})
