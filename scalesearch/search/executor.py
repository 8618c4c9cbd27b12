"""Where rungs run: local worker processes, one thread each, behind `concurrent.futures`.

The engine knows only `submit(function, *args) -> Future` and `workers`; a cluster is another object with these two.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, Protocol

from threadpoolctl import threadpool_limits

from scalesearch.fit.worker import process_id, start_worker
from scalesearch.nets.factory import allowed
from scalesearch.spec.errors import RunError, TrainingError


class Executor(Protocol):
    """Runs picklable functions elsewhere."""

    workers: int

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]: ...

    def close(self) -> None: ...


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """While workers hold every core: linear algebra here on more threads than one would take theirs."""
    import scipy.linalg  # noqa: F401  has a BLAS of its own, which is not limited before it is loaded

    with threadpool_limits(1, user_api="blas"):
        yield


def run_all(executor: Executor, function: Callable[..., Any], calls: Sequence[tuple[Any, ...]]) -> list[Any]:
    """`function(*call)` for every call, on all workers; results in the order of `calls`. Raises the first error."""
    results: dict[int, Any] = {}
    waiting = list(enumerate(calls))
    active: dict[Future[Any], int] = {}
    while waiting or active:
        while waiting and len(active) < executor.workers:
            index, call = waiting.pop(0)
            active[executor.submit(function, *call)] = index
        done, _ = wait(active, return_when=FIRST_COMPLETED)
        for future in done:
            results[active.pop(future)] = future.result()
    return [results[index] for index in range(len(calls))]


class WorkerDied(TrainingError):
    """A worker process ended in the middle of its work (killed, out of memory, or crashed)."""


class HereExecutor:
    """Does the work in this process, at once: for work too small to start another process for."""

    workers = 1

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(function(*arguments))
        except Exception as error:
            future.set_exception(error)
        return future

    def close(self) -> None:
        pass


class LocalExecutor:
    """One spawned process per worker, each its own pool of one: a death breaks one rung and no other.

    Spawn, not fork: torch's threads and CUDA do not survive a fork.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._pools = [_pool() for _ in range(workers)]
        self._busy: list[Future[Any] | None] = [None] * workers
        # Started together, so that importing torch costs once the time, not once per worker.
        try:
            for started in [pool.submit(process_id) for pool in self._pools]:
                started.result()
        except BrokenProcessPool:
            self.close()
            raise RunError(
                "the worker processes did not start: their own messages are above; a script that calls run() needs "
                'its call under `if __name__ == "__main__":`'
            ) from None

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Hand work to a free worker. Callers never submit more than `workers` at a time."""
        index = next(i for i, future in enumerate(self._busy) if future is None or future.done())
        try:
            inner = self._pools[index].submit(function, *arguments)
        except BrokenProcessPool:  # it died while idle, or with its last rung
            self._pools[index].shutdown(wait=False)
            self._pools[index] = _pool()
            inner = self._pools[index].submit(function, *arguments)
        outer: Future[Any] = Future()
        self._busy[index] = outer
        inner.add_done_callback(lambda done: _pass_on(done, outer))
        return outer

    def close(self) -> None:
        """End all workers at once; unfinished rungs are lost, finished ones are not."""
        for pool in self._pools:
            processes = list((pool._processes or {}).values())
            pool.shutdown(wait=False, cancel_futures=True)
            for process in processes:
                process.kill()
            for process in processes:
                process.join()


def in_fresh_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """`function(*arguments)` in a process that nothing else has used. Raises its error, or WorkerDied."""
    executor = LocalExecutor(1)
    try:
        return executor.submit(function, *arguments).result()
    finally:
        executor.close()


def _pool() -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(1, mp_context=context, initializer=start_worker, initargs=(os.getpid(), allowed()))


def _pass_on(done: Future[Any], outer: Future[Any]) -> None:
    if done.cancelled():  # by close()
        outer.cancel()
        return
    error = done.exception()
    if isinstance(error, BrokenProcessPool):
        outer.set_exception(WorkerDied("the worker process died (killed, out of memory, or crashed)"))
    elif error is not None:
        outer.set_exception(error)
    else:
        outer.set_result(done.result())
