"""Real spawned workers: what passes through them, how they die, and what they leave behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest
import torch

from scalesearch.fit.checkpoint import CheckpointError
from scalesearch.fit.worker import process_id
from scalesearch.search.executor import LocalExecutor, WorkerDied, run_all
from scalesearch.spec.errors import RunError, TrainingError

DEATH = "the worker process died (killed, out of memory, or crashed)"


def threads() -> int:
    return torch.get_num_threads()


def product(a: int, b: int) -> tuple[int, int]:
    return a * b, os.getpid()


def raise_checkpoint_error(text: str) -> None:
    raise CheckpointError(text)


def end_at_once(code: int) -> None:
    os._exit(code)


def sleep_for(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def interrupt_myself() -> str:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.2)
    return "still here"


def wait_until(holds: Callable[[], bool], seconds: float) -> bool:
    """Poll instead of one long sleep."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        if holds():
            return True
        time.sleep(0.05)
    return holds()


def is_alive(pid: int) -> bool:
    """A zombie is dead: it only waits for its parent to look."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


@pytest.fixture(scope="module")
def executor() -> Iterator[LocalExecutor]:
    made = LocalExecutor(2)
    yield made
    made.close()


def both_pids(executor: LocalExecutor) -> set[int]:
    futures = [executor.submit(product, 1, 1), executor.submit(product, 1, 1)]
    return {future.result(timeout=30)[1] for future in futures}


def test_two_workers_are_two_processes_with_one_thread_each(executor: LocalExecutor) -> None:
    pids = both_pids(executor)
    assert len(pids) == executor.workers == 2
    assert os.getpid() not in pids
    assert run_all(executor, threads, [(), ()]) == [1, 1]


def test_results_and_errors_pass_through(executor: LocalExecutor) -> None:
    assert executor.submit(product, 6, 7).result(timeout=30)[0] == 42
    with pytest.raises(CheckpointError, match=r"^a\.pt: torn$"):
        executor.submit(raise_checkpoint_error, "a.pt: torn").result(timeout=30)
    assert executor.submit(product, 2, 3).result(timeout=30)[0] == 6  # the worker lives on


def test_more_calls_than_workers_come_back_in_their_order(executor: LocalExecutor) -> None:
    calls = [(0.3,), (0.0,), (0.1,), (0.0,), (0.05,)]
    assert run_all(executor, sleep_for, calls) == [0.3, 0.0, 0.1, 0.0, 0.05]
    assert run_all(executor, sleep_for, []) == []


def test_the_first_error_of_many_calls_is_raised(executor: LocalExecutor) -> None:
    with pytest.raises(CheckpointError, match="b"):
        run_all(executor, raise_checkpoint_error, [("b",)])


def test_a_worker_that_ends_breaks_its_own_call_only(executor: LocalExecutor) -> None:
    other: Future[float] = executor.submit(sleep_for, 0.5)
    dying: Future[None] = executor.submit(end_at_once, 3)
    with pytest.raises(WorkerDied) as caught:
        dying.result(timeout=30)
    assert str(caught.value) == DEATH
    assert isinstance(caught.value, TrainingError)
    assert other.result(timeout=30) == 0.5
    assert executor.submit(product, 2, 2).result(timeout=30)[0] == 4
    assert len(both_pids(executor)) == 2


def test_a_worker_killed_at_work_breaks_its_own_call_only(executor: LocalExecutor) -> None:
    victims = both_pids(executor)
    working = executor.submit(sleep_for, 30.0)
    other = executor.submit(process_id)
    # Busy is the one that did not answer.
    [victim] = victims - {other.result(timeout=30)}
    os.kill(victim, signal.SIGKILL)
    with pytest.raises(WorkerDied, match="killed"):
        working.result(timeout=30)
    after = both_pids(executor)
    assert victim not in after
    assert len(after) == 2


def test_a_worker_killed_while_idle_is_replaced(executor: LocalExecutor) -> None:
    victims = both_pids(executor)
    victim = max(victims)
    os.kill(victim, signal.SIGKILL)
    assert wait_until(lambda: not is_alive(victim), 10)
    # The pool may notice the death before or after the next call: either it works, or the call says so.
    for _ in range(2):
        try:
            assert executor.submit(product, 3, 3).result(timeout=30)[0] == 9
        except WorkerDied as error:
            assert str(error) == DEATH
    assert victim not in both_pids(executor)


def test_ctrl_c_is_left_to_the_parent(executor: LocalExecutor) -> None:
    assert executor.submit(interrupt_myself).result(timeout=30) == "still here"


def test_close_ends_all_workers_at_once() -> None:
    own = LocalExecutor(1)
    pid = own.submit(process_id).result(timeout=30)
    working = own.submit(sleep_for, 60.0)
    time.sleep(0.2)
    started = time.monotonic()
    own.close()
    assert time.monotonic() - started < 5
    assert not is_alive(pid)
    assert pid not in {child.pid for child in multiprocessing.active_children()}
    with pytest.raises(WorkerDied):
        working.result(timeout=5)


PARENT = """
import sys
from scalesearch.fit.worker import process_id
from scalesearch.search.executor import LocalExecutor
from tests.unit.test_executor import sleep_for

if __name__ == "__main__":
    executor = LocalExecutor(1)
    print(executor.submit(process_id).result(), flush=True)
    executor.submit(sleep_for, 600.0)
    sys.stdin.read()
"""


def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    parent = subprocess.Popen(
        [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )
    try:
        assert parent.stdout is not None and parent.stdin is not None
        worker = int(parent.stdout.readline())
        assert is_alive(worker)
        parent.kill()
        parent.wait(timeout=10)
        assert wait_until(lambda: not is_alive(worker), 5)
    finally:
        parent.kill()
        parent.communicate()


UNGUARDED = """
from scalesearch.search.executor import LocalExecutor
from scalesearch.spec.errors import RunError
try:
    LocalExecutor(1)
except RunError as error:
    print(error)
"""


def test_a_script_without_a_guard_is_told_what_it_lacks(tmp_path: Path) -> None:
    """Spawned workers import the script that started them."""
    script = tmp_path / "unguarded.py"
    script.write_text(UNGUARDED)
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True, text=True, timeout=60, check=False, env={**os.environ, "PYTHONPATH": str(root)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith(
        "the worker processes did not start: their own messages are above; a script that calls run() needs "
        'its call under `if __name__ == "__main__":`'
    )


def test_linear_algebra_has_one_thread_inside_and_its_own_setting_again_after() -> None:
    """In a process of its own, since other tests' imports would hide a BLAS that is loaded too late."""
    script = (
        "from threadpoolctl import threadpool_info, threadpool_limits\n"
        "from scalesearch.search.executor import one_blas_thread\n"
        "def blas(): return [one['num_threads'] for one in threadpool_info() if one['user_api'] == 'blas']\n"
        "with one_blas_thread():\n"
        "    import scipy.linalg\n"
        "    print(len(blas()) >= 1, set(blas()) == {1})\n"
        "with threadpool_limits(2, user_api='blas'):\n"
        "    before = blas()\n"
        "    with one_blas_thread(): import scipy.linalg; print(set(blas()) == {1})\n"
        "    print(blas() == before == [2] * len(before))\n"
    )
    two = os.environ | {"OPENBLAS_NUM_THREADS": "2", "OMP_NUM_THREADS": "2"}
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=two)
    assert found.stdout.split() == ["True"] * 4


def test_a_run_error_is_no_training_error() -> None:
    """WorkerDied is a trial's affair, workers that never start are the run's."""
    assert not issubclass(RunError, TrainingError)
    assert issubclass(WorkerDied, TrainingError)
