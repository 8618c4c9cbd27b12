"""The command line without training: what it prints, its errors, its exit codes."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from scalesearch.commands import main as command_line
from scalesearch.commands.main import COMMANDS, main, make_parser
from scalesearch.spec.files import load_arch, load_space, shipped_spaces


def fails(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """The one line (or lines) on stderr of a command that must end with exit code 2."""
    try:
        code = main(argv)
    except SystemExit as stop:
        code = stop.code
    printed = capsys.readouterr()
    assert code == 2
    assert "Traceback" not in printed.err
    return printed.err.strip()


def prints(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    assert main(argv) == 0
    return capsys.readouterr().out


def test_every_command_has_help_with_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    for name in COMMANDS:
        with pytest.raises(SystemExit) as stop:
            main([name, "--help"])
        assert stop.value.code == 0
        shown = capsys.readouterr().out
        assert f"scalesearch {name} " in shown.split("examples:")[1]


def test_examples_parse() -> None:
    """Every example in the help is a command that the parser takes."""
    parser = make_parser()
    for module in COMMANDS.values():
        for line in module.EXAMPLES.splitlines():
            if line.strip().startswith("scalesearch "):
                parser.parse_args(shlex.split(line)[1:])


def test_every_command_is_documented() -> None:
    readme = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
    for name in COMMANDS:
        assert f"scalesearch {name}" in readme


def test_help_defines_flops(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "multiply-adds of convolutions and linear layers" in shown
    assert "385,814,752" in shown


def test_no_command_shows_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert "COMMAND" in prints(capsys)


def test_cost_json(capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(prints(capsys, "cost", "efficientnet_b0", "--json"))
    assert (found["name"], found["resolution"]) == ("efficientnet_b0", 224)
    # tests/golden/complexity.csv, torchvision's modules
    assert (found["flops"], found["params"], found["activations"]) == (385_814_752, 5_288_548, 6_748_036)
    assert sum(stage["flops"] for stage in found["stages"]) == found["flops"]


def test_cost_table(capsys: pytest.CaptureFixture[str]) -> None:
    shown = prints(capsys, "cost", "efficientnet_b2", "--resolution", "288")
    assert "1,087,529,456" in shown  # the same file, efficientnet_b2 at 288 px
    assert "multiply-adds" in shown


def test_cost_latency(capsys: pytest.CaptureFixture[str]) -> None:
    shown = prints(capsys, "cost", "efficientnet_b0", "--resolution", "32", "--latency")
    assert re.search(r"latency: \d+\.\d\d ms median", shown)


def test_cost_json_carries_every_measurement(capsys: pytest.CaptureFixture[str]) -> None:
    how = "--device cpu --threads 2 --batch 3 --warmup 1 --repeats 2"
    shown = prints(capsys, *shlex.split(f"cost efficientnet_b0 --resolution 32 --latency --train-step {how} --json"))
    found = json.loads(shown)
    assert {"flops", "params", "activations"} <= found.keys()
    for name in ("latency", "train_step"):
        result = found[name]
        assert 0 < result["p10_s"] <= result["median_s"] <= result["p90_s"]
        given = {key: result[key] for key in ("device", "threads", "batch", "warmup", "repeats")}
        assert given == {"device": "cpu", "threads": 2, "batch": 3, "warmup": 1, "repeats": 2}
    # Weights, gradients, momentum and weight average of B0.
    assert found["train_step"]["peak_memory"] > 16 * 5_288_548
    assert found["train_step"]["images_per_second"] == pytest.approx(3 / found["train_step"]["median_s"])


def test_cost_train_step(capsys: pytest.CaptureFixture[str]) -> None:
    shown = prints(capsys, *shlex.split("cost efficientnet_b0 --resolution 32 --train-step --batch 2 --repeats 2"))
    line = next(line for line in shown.splitlines() if line.startswith("training step: "))
    assert re.search(r"\d+\.\d\d ms median of 2 steps .*batch 2, cpu, 1 thread; ", line)
    assert re.search(r"; \d+\.\d images/s, peak memory \d+ MB", line)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--latency", "--batch", "0"], "argument --batch: must be an integer from 1 to 1,000,000, got '0'"),
        (["--latency", "--repeats", "x"], "argument --repeats: must be an integer from 1 to 1,000,000, got 'x'"),
        (["--latency", "--warmup", "-1"], "argument --warmup: must be an integer from 0 to 1,000,000, got '-1'"),
        (["--threads", "2"], "--threads: says how to measure; give --latency or --train-step with it"),
        (["--latency", "--device", "cuda:99"], "latency: device must be 'cpu' or a CUDA device that PyTorch has here"),
        (["--train-step", "--device", "tpu"], "train step: device must be 'cpu' or a CUDA device that PyTorch has"),
        (["--train-step", "--batch", "1000000"], "; give a smaller --batch"),
        (["--latency", "--batch", "1000000"], "needs more memory than there is; give a smaller batch or --resolution"),
        (["--latency", "--threads", "100000"], "argument --threads: must be an integer from 1 to 1,024, got '100000'"),
    ],
)
def test_cost_refuses_bad_measurements(capsys: pytest.CaptureFixture[str], argv: list[str], words: str) -> None:
    error = fails(capsys, "cost", "efficientnet_b0", *argv)
    assert words in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize("value", ["0", "-3", "abc", "20000", "1.5"])
def test_cost_bad_resolution(capsys: pytest.CaptureFixture[str], value: str) -> None:
    error = fails(capsys, "cost", "efficientnet_b0", "--resolution", value)
    assert f"must be an integer from 1 to 16384, got '{value}'" in error


def test_unknown_network_suggests(capsys: pytest.CaptureFixture[str]) -> None:
    assert "did you mean 'efficientnet_b0'" in fails(capsys, "cost", "eficientnet_b0")


def test_scale_to_flops(capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(prints(capsys, "scale", "efficientnet_b0", "--to-flops", "1.6B", "--json"))
    assert found["flops"] == pytest.approx(1.6e9, rel=0.03)
    assert found["arch"]["resolution"] == found["resolution"]


def test_scale_prints_requested_beside_realised(capsys: pytest.CaptureFixture[str]) -> None:
    shown = prints(
        capsys,
        *shlex.split("scale efficientnet_b0 --alpha 1.2 --beta 1.1 --gamma 1.1 --phi 7 --rounding pycls"),
    )
    assert "depth × 3.583, width × 1.949" in shown
    stage3 = next(line.split() for line in shown.splitlines() if line.startswith("stage3"))
    # 56 px and 40 channels asked to grow by 1.9487, 2 repeats by 3.5832
    assert (stage3[1], stage3[3], stage3[5], stage3[6]) == ("109.1", "77.9", "7.17", "7")


def test_scale_by_a_rule_and_by_multipliers(capsys: pytest.CaptureFixture[str]) -> None:
    """tests/golden/fast_scaling_pycls.csv: RegNetY-400MF by d1_w8_g8_r1 at s = 4, and B0 by d at s = 2."""
    found = json.loads(prints(capsys, *"scale regnety_400mf --rule dWGr --phi 2 --rounding pycls --json".split()))
    assert [stage["channels"] for stage in found["arch"]["stages"]] == [80, 192, 352, 768]
    assert [stage["group_width"] for stage in found["arch"]["stages"]] == [16, 16, 16, 16]
    by_shares = json.loads(
        prints(capsys, *"scale regnety_400mf --rule 0.1,0.8,0.1,0.8 --phi 2 --rounding pycls --json".split())
    )
    assert by_shares == found
    depth = json.loads(prints(capsys, *"scale efficientnet_b0 --rule d --phi 1 --json".split()))
    assert depth["flops"] == 782_275_608 - 21_560  # less the biases that pycls counts
    by = json.loads(prints(capsys, *"scale efficientnet_b0 --by 2,1,1 --json".split()))
    assert (by["flops"], by["phi"]) == (depth["flops"], None)
    like = json.loads(prints(capsys, *"scale efficientnet_b0 --by efficientnet_b3 --json".split()))
    published = load_arch("efficientnet_b3")
    assert like["arch"]["stages"] == published.to_dict()["stages"]
    assert like["resolution"] == published.resolution
    shown = prints(capsys, *"scale efficientnet_lite0 --by 2,2,1".split())
    assert re.search(r"^stem +224\.0 +224 +32\.0 +32", shown, re.MULTILINE)  # Lite's stem is not scaled
    assert "φ" not in shown.splitlines()[0]


def test_scale_writes_a_file_that_reads_back(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for suffix in ("toml", "json"):
        path = tmp_path / f"b1.{suffix}"
        prints(capsys, "scale", "efficientnet_b0", "--phi", "1", "--write", str(path))
        assert load_arch(path).stages[1].repeats == 3


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--phi", "x"], "argument --phi: must be a number, got 'x'"),
        (["--phi", "99"], "--phi must be from -40 to 40, got 99"),
        (["--phi", "1", "--alpha", "-1"], "coefficients must be positive and finite, got alpha=-1.0"),
        (["--to-flops", "450M"], "the nearest reachable are 385.8M"),
        (["--to-flops", "abc"], "FLOPs must be a number with a unit"),
        ([], "one of the arguments --phi --by --to-flops is required"),
        (["--phi", "1", "--write", "b.yaml"], "--write b.yaml: must end in .toml or .json"),
        (["--phi", "1", "--write", "/no/such/folder/b.toml"], "cannot be written: No such file or directory"),
        (["--phi", "20", "--alpha", "2"], "are allowed; lower α or φ"),
        (
            "--rule up --phi 1".split(),
            "argument --rule: must be one of d, w, r, dw, wr, dr, dwr, wg, dwg, wgr, dwgr, dWr, dWGr, or 3 or 4 "
            "shares like 0.1,0.8,0.1, got 'up'",
        ),
        (
            "--by 1,2".split(),
            "argument --by: must be 3 or 4 multipliers like 1.4,1.2,1.3, or a name: 1,2: no network is published",
        ),
        (
            "--rule d --alpha 1.1 --beta 1 --phi 1".split(),
            "--rule stands for the coefficients; leave out --alpha --beta",
        ),
        ("--rule d --by 1,1,2".split(), "--by stands for the coefficients; leave out --rule"),
    ],
)
def test_scale_errors(capsys: pytest.CaptureFixture[str], argv: list[str], words: str) -> None:
    error = fails(capsys, "scale", "efficientnet_b0", *argv)
    assert words in error
    assert len(error.splitlines()) == 1


def test_spaces(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "efficientnet" in prints(capsys, "spaces")
    shown = prints(capsys, "spaces", "show", "efficientnet")
    assert "37,745,884,192" in shown  # B7, tests/golden/complexity.csv
    assert "stages.7.channels" in shown
    mine = tmp_path / "mine.toml"
    prints(capsys, "spaces", "copy", "efficientnet", str(mine))
    assert mine.read_bytes() == shipped_spaces()["efficientnet"].read_bytes()
    assert "no faults" in prints(capsys, "spaces", "check", str(mine))


def test_spaces_show_the_choices_and_how_many_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    shown = prints(capsys, "spaces", "show", "mnasnet").splitlines()
    assert "what a search of the base may vary, of mnasnet_a1:" in shown
    rows = {line.split()[0]: line.split(maxsplit=2)[1:] for line in shown if line.startswith("stages.")}
    assert rows["stages.*"] == ["4", "fused_mbconv expand 1, mbconv expand 1, mbconv expand 3, mbconv expand 6"]
    assert rows["stages.*.skip"] == ["3", "identity, none, pool"]
    assert rows["stages.1,7.repeats"] == ["2", "1, 2"]
    assert rows["stages.5.channels"] == ["4", "72, 96, 112, 120"]
    header = next(place for place, line in enumerate(shown) if line.startswith("stage "))
    stages = [line.split() for line in shown[header : header + 8]]
    assert stages[0] == ["stage", "kind", "px", "stride", "channels", "repeats", "choices"]
    assert stages[3] == ["3", "mbconv", "56", "2", "40", "3", "432"]
    assert [row[-1] for row in stages[1:]] == ["288", "432", "432", "432", "576", "576", "288"]
    mnasnet = load_space("mnasnet").search
    assert mnasnet is not None
    assert shown[-2] == (f"2,218,611,106,740,436,992 points (about 2.2e18), {mnasnet.networks():,} distinct networks")
    assert re.fullmatch(r"FLOPs of 100 random points: median \S+M, nine of ten from \S+M to \S+M", shown[-1])
    regnet = prints(capsys, "spaces", "show", "regnet")
    assert re.search(r"^regnet\.wa +24801  8 to 256 by 0\.01, logarithmic$", regnet, re.MULTILINE)
    assert "98,793,295,440 points (about 9.9e10), many of them of one network" in regnet
    listed = prints(capsys, "spaces")
    assert re.search(r"^mobilenet_v1 .* 32  MobileNetV1", listed, re.MULTILINE)
    assert re.search(r"^regnet .* 9\.9e10  RegNetX", listed, re.MULTILINE)


def test_spaces_errors(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text("taken")
    assert "exists already; choose another name" in fails(capsys, "spaces", "copy", "efficientnet", str(mine))
    assert "is not a shipped space; they are" in fails(capsys, "spaces", "copy", "nothing", str(tmp_path / "x.toml"))
    assert "cannot be written" in fails(capsys, "spaces", "copy", "efficientnet", str(tmp_path / "no" / "x.toml"))
    assert "must end in .toml or .json" in fails(capsys, "spaces", "check", "efficientnet")
    assert "must end in .toml, which" in fails(capsys, "spaces", "copy", "efficientnet", str(tmp_path / "x.json"))
    mine.write_text("[base]\nname = 'x'\nresolutoin = 3\n")
    errors = fails(capsys, "spaces", "check", str(mine)).splitlines()
    assert any("did you mean 'resolution'?" in line for line in errors)
    assert len(errors) == 4  # the misspelt key, and resolution, stem and stages are missing
    assert all(str(mine) in line for line in errors)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--target-flops", "abc"], "argument --target-flops: FLOPs must be a number with a unit"),
        (["--target-flops", "-1"], "argument --target-flops: FLOPs must be at least 1, got '-1'"),
        (["--target-flops", "0"], "argument --target-flops: FLOPs must be at least 1, got '0'"),
        ([], "--target-flops: is missing; give the base's budget, like --target-flops 400M"),
        (["--target-flops", "400M", "--seeds", "0"], "argument --seeds: must be an integer from 1 to 1,000, got '0'"),
        (["--target-flops", "400M", "--time-budget", "soon"], "a duration must be a number with a unit"),
        (["--target-flops", "400M", "--workers", "many"], "argument --workers: must be an integer"),
        (["--target-flops", "400M", "--set", "batsh=3"], "there is no setting 'batsh'; did you mean 'batch'?"),
        (["--target-flops", "400M", "--set", "seeds=3"], "has an option of its own, --seeds"),
        (["--target-flops", "400M", "--set", "batch=x"], "batch must be an integer from 2"),
        (["--target-flops", "400M", "--base", "resnet5000"], "resnet5000: no such network"),
        (["--target-flops", "400M", "--data", "/no/such/folder"], "/no/such/folder"),
        (["--target-flops", "1"], "no φ gives 1 FLOPs"),
        (["--target-flops", "400M", "--out", ""], "argument --out: must be a folder, got an empty text"),
        (["--target-flops", "400M", "--data", ""], "data: must be text, got ''"),
        (["--target-flops", "400M", "--data", "digits", "--out", "/etc/passwd"], "is a file, or lies in one"),
        (["--resume"], "--resume: needs --out DIR"),
        (["--resume", "--out", "/no/such/run"], "/no/such/run: there is no such folder; "),
        (["--target-flops", "400M", "--sampler", "best"], "invalid choice: 'best'"),
        (["--target-flopps", "400M"], "unrecognized arguments"),
        (["--target-flops", "400M", "--cost", "bananas"], "argument --cost: invalid choice: 'bananas' (choose from"),
        (["--target-flops", "400M", "--set", "cost=latency"], "has an option of its own, --cost"),
        (["--target-flops", "400M", "--set", "objective=efficientnetv2"], "give --cost train_step with it"),
    ],
)
def test_run_refuses_bad_usage(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, argv: list[str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    error = fails(capsys, "run", *argv)
    assert words in error
    assert len(error.splitlines()) == 1


def test_dry_run_lists_networks_and_writes_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCALESEARCH_CACHE", str(tmp_path / "cache"))
    shown = prints(capsys, *shlex.split("run --target-flops 400M --preset smoke --data digits --dry-run"))
    assert "paper" in shown
    assert "depth only" in shown
    assert "cannot get there" in shown
    assert "power: 2 networks × 2 paired seeds show a difference of" in shown
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


def test_report_of_no_run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "is not a run's folder: it has no run.json; `scalesearch run`" in fails(capsys, "report", str(tmp_path))
    assert "none: there is no such folder; `scalesearch run` says" in fails(capsys, "report", str(tmp_path / "none"))
    (tmp_path / "run.json").write_text("[]")
    assert "it was not written by scalesearch" in fails(capsys, "report", str(tmp_path))


def test_every_faulty_setting_is_told_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    errors = fails(capsys, *"run --target-flops 400M --set epochs=x --set rungs=y --set batsh=3".split()).splitlines()
    assert [line.split("--set ")[1].split(":")[0] for line in errors] == ["epochs=x", "rungs=y", "batsh=3"]


def test_a_network_by_itself_can_be_checked(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "b2.toml"
    prints(capsys, "scale", "efficientnet_b0", "--phi", "2", "--write", str(path))
    assert "no faults; efficientnet_b0-phi2" in prints(capsys, "spaces", "check", str(path))


def test_a_full_standard_output_is_one_clear_line() -> None:
    command = [sys.executable, "-m", "scalesearch.commands", "cost", "efficientnet_b0"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr == "scalesearch cost: error: standard output: No space left on device\n"


def test_debug_shows_the_traceback() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "scalesearch.commands", "--debug", "cost", "nothing"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" in done.stderr


def test_a_bug_is_no_user_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 1 with a traceback: an unexpected exception is not swallowed."""

    def broken(arguments: object) -> None:
        raise AttributeError("a bug")

    monkeypatch.setattr(command_line.COMMANDS["cost"], "execute", broken)
    with pytest.raises(AttributeError, match="a bug"):
        main(["cost", "efficientnet_b0"])


def test_a_closed_pipe_is_no_error() -> None:
    command = f"{shlex.quote(sys.executable)} -m scalesearch.commands spaces show efficientnet | head -1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False, env=dict(os.environ)
    )
    assert (done.returncode, done.stderr) == (0, "")
