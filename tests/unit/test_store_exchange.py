"""Export and import: what is exported comes back whole; what is wrong is refused, with its place and the reason."""

import datetime as dt
import json
import math
import tempfile
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwcomp.errors import InputError
from hwcomp.store import KernelRow, Observation, RunRow, Setting, Store
from hwcomp.store.exchange import export_rows, import_rows

ENDINGS = [".jsonl", ".parquet"]

SETTING = Setting(device="cpu: EPYC | isa: avx2 | cores: 2", runtime="onnxruntime 1.31.1", threads=2)
KERNEL = KernelRow(
    kernel="conv2d|float|1x3x8x8", method="network", median_us=20.5, p10_us=19.0, p90_us=24.25, runs=40,
    date="2026-11-22T08:00:00+00:00", provenance="measured",
)  # fmt: skip
RUN = RunRow(
    network="5f2a", assignment={"stem": "float", "head": "int8"}, median_us=900.0, p10_us=880.0, p90_us=990.0, runs=9,
    date="2026-11-22", provenance="measured", control_us=1500.0,
)  # fmt: skip


def quiet(share: float) -> None:
    assert 0 <= share <= 1


def dump(store: Store) -> list:
    return [*store.every_row(), *((s.setting, s.observation, s.observation_date) for s in store.settings())]


texts = st.text(st.characters(exclude_categories=("C", "Z"), include_characters=" "), min_size=1, max_size=20)
times = st.floats(min_value=0, exclude_min=True, allow_infinity=False)
quantiles = st.tuples(times, times, times).map(sorted)
dates = st.datetimes(max_value=dt.datetime(2026, 1, 1)).map(lambda time: f"{time.isoformat()}Z")
kinds = st.sampled_from(["measured", "simulated", "analytic"])
counts = st.integers(0, 2**53)
places = st.builds(Setting, device=texts, runtime=texts, threads=st.integers(1, 2**53))


@st.composite
def kernel_rows(draw):
    p10, median, p90 = draw(quantiles)
    return KernelRow(
        kernel=draw(texts), method=draw(st.sampled_from(["network", "alone"])), median_us=median, p10_us=p10,
        p90_us=p90, runs=draw(counts), date=draw(dates), provenance=draw(kinds),
        error=draw(st.floats(0, allow_infinity=False)),
    )  # fmt: skip


@st.composite
def run_rows(draw):
    p10, median, p90 = draw(quantiles)
    return RunRow(
        network=draw(texts), assignment=draw(st.dictionaries(texts, texts, max_size=4)), median_us=median, p10_us=p10,
        p90_us=p90, runs=draw(counts), date=draw(dates), provenance=draw(kinds), control_us=draw(times),
    )  # fmt: skip


contents = st.tuples(st.lists(kernel_rows(), max_size=4), st.lists(run_rows(), max_size=4), st.booleans())


@pytest.mark.parametrize("ending", ENDINGS)
@settings(max_examples=40, deadline=None)
@given(content=st.dictionaries(places, contents, max_size=3))
def test_what_is_exported_comes_back(ending: str, content: dict) -> None:
    with tempfile.TemporaryDirectory() as name:
        store, copy = Store(Path(name) / "a.sqlite"), Store(Path(name) / "b.sqlite")
        for setting, (kernels, runs, observed) in content.items():
            store.add_kernels(setting, kernels)
            store.add_runs(setting, runs)
            if observed:
                store.observe(setting, Observation(governor="performance", clock_mhz=None))
        file = Path(name) / f"table{ending}"
        number = export_rows(store, file, quiet)
        merged = import_rows(copy, file, quiet)
        assert sum(one.new for one in merged) == number == len(list(store.every_row()))
        told = {s.setting for s in store.settings() if s.kernels + s.runs or s.observation}  # the others say nothing
        assert dump(copy) == [entry for entry in dump(store) if entry[0] in told]
        again = import_rows(copy, file, quiet)
        assert sum(one.same for one in again) == number
        assert not any(one.new or one.replaced or one.older for one in again)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "latency.sqlite")


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_newest_row_stays(store: Store, tmp_path: Path, ending: str) -> None:
    other, file = Store(tmp_path / "other.sqlite"), tmp_path / f"table{ending}"
    rows = [replace(KERNEL, kernel=name, median_us=20.0) for name in ("new", "newer", "older", "same")]
    other.add_kernels(SETTING, rows)
    other.add_runs(SETTING, [replace(RUN, date="2026-11-23")])
    export_rows(other, file, quiet)
    mine = [
        replace(KERNEL, kernel="newer", date="2026-11-21"),
        replace(KERNEL, kernel="older", date="2026-11-22T08:00:01+00:00"),
        replace(KERNEL, kernel="same"),
    ]
    store.add_kernels(SETTING, mine)
    store.add_runs(SETTING, [replace(RUN, median_us=880.0)])
    store.add_kernels(replace(SETTING, threads=1), [replace(KERNEL, kernel="new")])
    (merged,) = import_rows(store, file, quiet)
    assert merged.setting == SETTING
    assert (merged.new, merged.replaced, merged.same, merged.older) == (1, 2, 1, 1)
    assert store.kernels(SETTING) == {"new": rows[0], "newer": rows[1], "older": mine[1], "same": mine[2]}
    assert store.runs(SETTING) == [replace(RUN, date="2026-11-23")]
    assert store.kernels(replace(SETTING, threads=1)) == {"new": replace(KERNEL, kernel="new")}


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_latest_observation_stays(store: Store, tmp_path: Path, ending: str) -> None:
    other, file = Store(tmp_path / "other.sqlite"), tmp_path / f"table{ending}"
    other.observe(SETTING, Observation(governor="powersave", clock_mhz=600.0))
    export_rows(other, file, quiet)
    import_rows(store, file, quiet)
    assert store.settings() == other.settings()
    time.sleep(1.1)  # dates are kept to the second
    store.observe(SETTING, Observation(governor="performance", clock_mhz=1500.0))
    latest = store.settings()
    import_rows(store, file, quiet)
    assert store.settings() == latest
    export_rows(store, file, quiet)
    import_rows(other, file, quiet)
    assert other.settings() == latest


def _written(folder: Path, text: str) -> Path:
    path = folder / "changed.jsonl"
    path.write_text(text)
    return path


def good_lines(tmp_path: Path) -> list[bytes]:
    """Return an export of ten kernels and a run: the header, and a line each."""
    source = Store(tmp_path / "source.sqlite")
    source.add_kernels(SETTING, [replace(KERNEL, kernel=f"conv2d|{index}") for index in range(10)])
    source.add_runs(SETTING, [RUN])
    export_rows(source, tmp_path / "good.jsonl", quiet)
    return (tmp_path / "good.jsonl").read_bytes().splitlines(keepends=True)


def fields(**changes: object):
    """Return what changes fields of a line; None removes one."""

    def change(line: bytes) -> bytes:
        changed = json.loads(line) | changes
        return json.dumps({name: value for name, value in changed.items() if value is not None}).encode() + b"\n"

    return change


# case -> what line 5, a kernel's, becomes, and words of the reason
LINES = {
    "unknown field": (fields(colour="red"), ["unknown field 'colour'"]),
    "a field of another kind": (fields(control_us=3.0), ["unknown field 'control_us'"]),
    "no field": (fields(median_us=None), ["no field 'median_us'"]),
    "NaN": (fields(median_us=math.nan), ["median_us", "finite", "nan"]),
    "infinity": (fields(p90_us=math.inf), ["p90_us", "finite", "inf"]),
    "too large for a number": (lambda line: line.replace(b"24.25", b"1e999"), ["p90_us", "finite"]),
    "negative": (fields(median_us=-1.0), ["median_us", "above zero", "-1.0"]),
    "zero": (fields(p10_us=0), ["p10_us", "above zero"]),
    "quantiles in disorder": (fields(p10_us=21.0), ["p10_us <= median_us", "21.0"]),
    "text for a number": (fields(median_us="20.5"), ["'median_us'", "valid number", "'20.5'"]),
    "number for a text": (fields(kernel=5), ["'kernel'", "valid string"]),
    "half a run": (fields(runs=1.5), ["'runs'", "1.5"]),
    "an enormous number of runs": (fields(runs=10**400), ["runs"]),
    "wrong provenance": (fields(provenance="guessed"), ["'provenance'", "'guessed'", "measured"]),
    "wrong method": (fields(method="seen"), ["'method'", "'seen'"]),
    "wrong kind": (fields(row="kernels"), ["'row'", "'kernel', 'run' or 'observation'"]),
    "wrong date": (fields(date="22.11.2026"), ["date", "ISO", "22.11.2026"]),
    "date to come": (fields(date="2999-01-01"), ["date", "future"]),
    "no threads": (fields(threads=0), ["threads", "1 or more"]),
    "escape codes": (fields(kernel="\x1b[2J"), ["kernel", "printable"]),
    "half a letter": (lambda line: line.replace(b"conv2d", rb"\ud800"), ["not JSON"]),
    "not JSON": (lambda line: line[:-10] + b"\n", ["not JSON"]),
    "empty": (lambda _: b"\n", ["not JSON"]),
    "a list": (lambda _: b"[1, 2]\n", ["[1, 2]"]),
    "deep": (lambda _: b"[" * 500_000 + b"\n", ["not JSON", "recursion"]),
    "code": (lambda _: b"__import__('os').system('true')\n", ["not JSON"]),
    "not UTF-8": (lambda line: line.replace(b"conv2d", b"\xff\xfe"), ["not JSON", "unicode"]),
    "too long": (lambda _: b'{"row": "' + b"x" * 2**20 + b'"}\n', ["longer than 1048576 bytes"]),
}  # fmt: skip


@pytest.mark.parametrize("case", LINES)
def test_a_wrong_line_is_refused(store: Store, tmp_path: Path, case: str) -> None:
    change, words = LINES[case]
    lines = good_lines(tmp_path)
    lines[4] = change(lines[4])
    path = tmp_path / "table.jsonl"
    path.write_bytes(b"".join(lines))
    with pytest.raises(InputError) as caught:
        import_rows(store, path, quiet)
    said = str(caught.value)
    for word in (f"'{path}', line 5: ", *words, "nothing was imported"):
        assert word in said
    assert said.isprintable()
    assert len(said) < 300 + len(str(path))
    assert store.settings() == []


def test_a_run_with_a_wrong_assignment_is_refused(store: Store, tmp_path: Path) -> None:
    lines = good_lines(tmp_path)
    for assignment, words in (({"stem": 8}, "'stem'"), ([], "'assignment'"), ({"stem": "\x07"}, "candidate")):
        path = _written(tmp_path, (lines[0] + fields(assignment=assignment)(lines[-1])).decode())
        with pytest.raises(InputError, match=f"line 2: .*{words}"):
            import_rows(store, path, quiet)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("kind", ["kernel", "run", "observation"])
def test_a_key_that_comes_twice_is_refused(store: Store, tmp_path: Path, kind: str, ending: str) -> None:
    from hwcomp.store import jsonl, parquet
    from hwcomp.store.lines import to_line

    content = {
        "kernel": (KERNEL, "same kernel and method as in"),
        "run": (RUN, "same network and assignment as in"),
        "observation": ((Observation(governor="x", clock_mhz=1.0), "2026-11-22"), "observation of the same setting"),
    }
    row, words = content[kind]
    line, other = to_line(SETTING, row), to_line(replace(SETTING, threads=7), row)
    path = tmp_path / f"table{ending}"
    (jsonl if ending == ".jsonl" else parquet).write(path, [other, line, line])
    first, second = ("3", "line 4") if ending == ".jsonl" else ("2", "row 3")
    with pytest.raises(InputError, match=f"{second}: .*{words}.* {first};"):
        import_rows(store, path, quiet)
    assert store.settings() == []


HEADS = {
    "no header": (lambda _: b"", "must begin with"),
    "another format": (lambda _: b'{"format": "other", "version": 1}\n', "must begin with"),
    "more in it": (lambda _: b'{"format": "hwcomp-latency", "version": 1, "run": "me"}\n', "must begin with"),
    "a newer version": (lambda head: head.replace(b"1", b"2"), "version 2, this hwcomp reads 1: update hwcomp"),
    "a version in words": (lambda head: head.replace(b"1", b'"one"'), "version 'one'"),
    "deep": (lambda _: b"[" * 500_000 + b"\n", "must begin with"),
    "not text": (lambda _: b"\xff\xfe\n", "must begin with"),
}


@pytest.mark.parametrize("case", HEADS)
def test_a_wrong_head_is_refused(store: Store, tmp_path: Path, case: str) -> None:
    change, words = HEADS[case]
    lines = good_lines(tmp_path)
    path = tmp_path / "table.jsonl"
    path.write_bytes(b"".join([change(lines[0]), *lines[1:]]))
    with pytest.raises(InputError, match="line 1") as caught:
        import_rows(store, path, quiet)
    assert words in str(caught.value)
    assert store.settings() == []


def parquet_file(path: Path, head: dict | None = None, **columns: object) -> None:
    """Write one kernel, with another head or other columns than it should have."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from hwcomp.store.lines import HEADER, to_line

    row = {name: [value] for name, value in (to_line(SETTING, KERNEL) | columns).items()}
    metadata = {name: str(value) for name, value in (HEADER if head is None else head).items()}
    pq.write_table(pa.table(row).replace_schema_metadata(metadata), path)


COLUMNS = {
    "unknown": ({"colour": "red"}, ["unknown column 'colour'"]),
    "text for a number": ({"median_us": "20.5"}, ["row 1", "'median_us'", "valid number"]),
    "NaN": ({"median_us": math.nan}, ["row 1", "median_us", "finite"]),
    "negative": ({"p10_us": -1.0}, ["row 1", "p10_us", "above zero"]),
    "nothing": ({"median_us": None}, ["row 1", "no field 'median_us'"]),
    "wrong provenance": ({"provenance": "guessed"}, ["row 1", "'provenance'", "guessed"]),
    "bytes for a text": ({"kernel": b"\xff"}, ["row 1", "'kernel'"]),
    "fraction for an integer": ({"runs": 1.5}, ["row 1", "'runs'"]),
}


@pytest.mark.parametrize("case", COLUMNS)
def test_a_wrong_parquet_file_is_refused(store: Store, tmp_path: Path, case: str) -> None:
    columns, words = COLUMNS[case]
    path = tmp_path / "table.parquet"
    parquet_file(path, **columns)
    with pytest.raises(InputError) as caught:
        import_rows(store, path, quiet)
    for word in (f"'{path}'", *words, "nothing was imported"):
        assert word in str(caught.value)
    assert store.settings() == []


@pytest.mark.parametrize(
    ("head", "words"),
    [({}, "must begin with"), ({"format": "other", "version": 1}, "must begin with"),
     ({"format": "hwcomp-latency", "version": 2}, "version 2, this hwcomp reads 1"),
     ({"format": "hwcomp-latency", "version": "one"}, "version 'one'")],
)  # fmt: skip
def test_a_parquet_file_with_a_wrong_head_is_refused(store: Store, tmp_path: Path, head: dict, words: str) -> None:
    parquet_file(tmp_path / "table.parquet", head)
    with pytest.raises(InputError, match=words):
        import_rows(store, tmp_path / "table.parquet", quiet)
    assert store.settings() == []


def test_a_parquet_file_of_kernels_only_is_enough(store: Store, tmp_path: Path) -> None:
    parquet_file(tmp_path / "table.parquet")
    import_rows(store, tmp_path / "table.parquet", quiet)
    assert store.all_kernels(SETTING) == [KERNEL]


@pytest.mark.parametrize("damage", ["cut", "text", "empty", "changed"])
def test_a_damaged_parquet_file_is_refused(store: Store, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "table.parquet"
    parquet_file(path)
    content = path.read_bytes()
    broken = {
        "cut": content[: len(content) // 2],
        "text": b"row,device\n",
        "empty": b"",
        "changed": content[:4] + bytes(600) + content[604:],
    }[damage]
    path.write_bytes(broken)
    with pytest.raises(InputError, match=r"table\.parquet"):
        import_rows(store, path, quiet)
    assert store.settings() == []


def test_a_parquet_file_that_would_fill_the_memory_is_refused(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hwcomp.store import parquet

    parquet_file(tmp_path / "table.parquet")
    monkeypatch.setattr(parquet, "LARGEST_GROUP", 100)
    with pytest.raises(InputError, match=r"row group 0 has \d+ bytes, more than 100; write it in smaller groups"):
        import_rows(store, tmp_path / "table.parquet", quiet)


def test_another_ending_is_refused(store: Store, tmp_path: Path) -> None:
    for name in ("table.csv", "table", "table.pkl"):
        with pytest.raises(InputError, match=r"must end in \.jsonl or \.parquet"):
            import_rows(store, tmp_path / name, quiet)
        with pytest.raises(InputError, match=r"must end in \.jsonl or \.parquet"):
            export_rows(store, tmp_path / name, quiet)


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_failed_export_leaves_the_old_file(store: Store, tmp_path: Path, ending: str) -> None:
    store.add_kernels(SETTING, [KERNEL])
    folder = tmp_path / "exports"
    folder.mkdir()
    path = folder / f"table{ending}"
    path.write_text("old")

    def interrupted(share: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_rows(store, path, interrupted)
    assert [entry.read_text() for entry in folder.iterdir()] == ["old"]
    with pytest.raises(InputError, match="cannot be written"):
        export_rows(store, folder / "no" / f"table{ending}", quiet)


def peak_bytes(store: Store, path: Path) -> int:
    tracemalloc.start()
    import_rows(store, path, quiet)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_memory_does_not_grow_with_the_file(store: Store, tmp_path: Path) -> None:
    """A file of ten times as many rows takes no more memory."""
    lines = good_lines(tmp_path)

    def file(number: int) -> Path:
        path = tmp_path / f"{number}.jsonl"
        with path.open("wb") as out:
            out.write(lines[0])
            for index in range(number):
                threads = str(index % 2000 + 1).encode()
                line = lines[1].replace(b"conv2d|0", b"conv2d|%d" % index)
                out.write(line.replace(b'"threads": 2', b'"threads": ' + threads))
        return path

    small, large = file(2000), file(20_000)
    first = peak_bytes(Store(tmp_path / "small.sqlite"), small)
    assert peak_bytes(store, large) < first + 2**20
