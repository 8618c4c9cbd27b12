"""`scalesearch reproduce` as a user runs it."""

from __future__ import annotations

from pathlib import Path

from tool import rows, tool

from scalesearch.report.reproduce import EXPERIMENTS


def test_a_table_is_printed_and_written(tmp_path: Path, cache: Path) -> None:
    done = tool("reproduce", "table2", "--out", "out", cwd=tmp_path, cache=cache)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Table 2: EfficientNet-B0 to B7")
    assert "B4 4.2B for 4.394G" in done.stdout
    assert "written: out/table2.md" in done.stdout
    assert rows(tmp_path / "out" / "table2.csv")[0]["flops"] == "385814752"
    assert {path.suffix for path in (tmp_path / "out").iterdir()} == {".md", ".csv", ".png", ".svg"}


def test_an_unknown_name(tmp_path: Path, cache: Path) -> None:
    done = tool("reproduce", "tabel2", cwd=tmp_path, cache=cache)
    assert done.returncode == 2
    assert done.stderr == "scalesearch reproduce: error: tabel2: no such experiment; did you mean 'table2'?\n"
    assert not list(tmp_path.iterdir())


def test_the_list(tmp_path: Path, cache: Path) -> None:
    done = tool("reproduce", cwd=tmp_path, cache=cache)
    assert done.returncode == 0
    lines = dict(line.split(maxsplit=1) for line in done.stdout.splitlines()[1:])
    assert list(lines) == list(EXPERIMENTS)
    for name, entry in EXPERIMENTS.items():
        assert lines[name].split(maxsplit=2 if entry.measured else 1)[-1] == entry.summary
        assert lines[name].startswith("a minute" if entry.measured else "seconds")


def test_a_folder_without_a_name(tmp_path: Path, cache: Path) -> None:
    done = tool("reproduce", "--out", "zz", cwd=tmp_path, cache=cache)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "scalesearch reproduce: error: --out zz: there is nothing to write without NAME, e.g. reproduce table2\n"
    )


def test_what_cannot_be_written_is_printed_all_the_same(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "file").write_text("here")
    done = tool("reproduce", "table1", "--out", "file", cwd=tmp_path, cache=cache)
    assert done.returncode == 2
    assert "stage 6 prints 28 px for 14 px" in done.stdout and "written:" not in done.stdout
    assert "--out" in done.stderr and "cannot be written" in done.stderr
