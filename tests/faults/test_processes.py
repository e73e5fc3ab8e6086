"""What becomes of the service when its model, or one of its processes, dies under it."""

import http.client
import os
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from tests.fakes import wait_for
from tests.faults.clients import Outcome, colour_of, upload
from tests.faults.faulty import BROKEN, HANGS, LOST, OUT_OF_MEMORY, faulty_service, seen_by, worker_of
from tests.service.running import Service, free_port

WAIT_S = 120.0  # for a process to begin anew, on a busy machine
DRAIN_S = 12.0
BEGUN_S = 4.0  # after that the drain has certainly begun
ENDING_S = 4.0  # and until so long before its end it has certainly not ended
UNREACHABLE = (OSError, http.client.HTTPException)


def wait_for_another_worker(running: Service, before: int) -> None:
    def is_another() -> bool:
        try:
            return worker_of(running) != before and running.get("/ready").status_code == 200
        except (OSError, ValueError):  # the errors of requests are OSErrors
            return False

    wait_for(is_another, WAIT_S)


def test_out_of_memory_is_no_fault_of_the_others() -> None:
    """The picture that does not fit is refused for now, its neighbours have their captions."""
    with faulty_service() as running, ThreadPoolExecutor(7) as pool:
        before = worker_of(running)
        running.post("/test/hold")
        first = pool.submit(upload, running.port, colour_of(0))
        wait_for(lambda: bool(seen_by(running)), WAIT_S)
        others = [pool.submit(upload, running.port, colour_of(number)) for number in range(1, 6)]
        too_large = pool.submit(upload, running.port, OUT_OF_MEMORY)
        wait_for(lambda: bool(running.get("/health").json()["queue"]["depth"] == 6), WAIT_S)
        running.post("/test/go")
        assert all(asked.result().is_own_caption for asked in [first, *others])
        assert too_large.result().is_refusal
        assert worker_of(running) == before


def test_an_error_of_the_model_ends_nothing() -> None:
    with faulty_service() as running:
        before = worker_of(running)
        broken = upload(running.port, BROKEN)
        assert (broken.status, broken.code) == (500, "internal_error")
        assert upload(running.port, colour_of(1)).is_own_caption
        assert worker_of(running) == before


@pytest.mark.parametrize("fault", [LOST, HANGS], ids=["a sticky error of the device", "a call that never returns"])
def test_a_model_that_cannot_be_mended_is_replaced_with_its_process(fault: tuple[int, int, int]) -> None:
    with faulty_service(MODEL_CALL_TIMEOUT_SECONDS="1") as running:
        before = worker_of(running)
        told = upload(running.port, fault)
        assert (told.status, told.code) == (503, "model_not_ready")
        assert told.retry_after
        wait_for_another_worker(running, before)
        assert running.process.poll() is None, "the port was closed in between"
        assert upload(running.port, colour_of(1)).is_own_caption


def test_a_worker_that_is_killed_is_replaced_while_the_port_stays_open() -> None:
    with faulty_service() as running, ThreadPoolExecutor(4) as pool:
        before = worker_of(running)
        running.post("/test/hold")
        lost = [pool.submit(upload, running.port, colour_of(number)) for number in range(4)]
        wait_for(lambda: len(seen_by(running)) + running.get("/health").json()["queue"]["depth"] == 4, WAIT_S)
        os.kill(before, signal.SIGKILL)
        for asked in lost:  # they know at once, and do not hang
            assert isinstance(asked.exception(WAIT_S), UNREACHABLE)
        with socket.create_connection(("127.0.0.1", running.port), timeout=WAIT_S):
            pass
        wait_for_another_worker(running, before)
        assert upload(running.port, colour_of(9)).is_own_caption


def test_a_supervisor_can_start_it_again_at_once_after_kill_9() -> None:
    port = free_port()
    with faulty_service(PORT=str(port)) as killed:
        worker = worker_of(killed)
        assert upload(port, colour_of(1)).is_own_caption
        killed.process.kill()
        killed.process.wait(WAIT_S)
        with faulty_service(PORT=str(port)) as again:
            # the model is in memory once; until then a connection may be the old one's, and be reset when it goes
            wait_for(lambda: is_gone(worker), WAIT_S)
            wait_for_another_worker(again, worker)
            assert upload(port, colour_of(2)).is_own_caption


def is_gone(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    return False


@dataclass
class Asked:
    at: float  # by time.monotonic()
    outcome: Outcome | None  # None: no answer came
    failure: Exception | None = None


@pytest.mark.parametrize("whole_group", [False, True], ids=["master", "process group"])
def test_sigterm_under_load_resets_nobody_while_it_drains(whole_group: bool) -> None:
    stopped = threading.Event()

    def client(number: int) -> list[Asked]:
        mine = []
        while not stopped.is_set():
            began = time.monotonic()
            try:
                mine.append(Asked(began, upload(running.port, colour_of(number))))
            except UNREACHABLE as exc:
                mine.append(Asked(began, None, exc))
            time.sleep(0.01)
        return mine

    settings = {"DRAIN_SECONDS": str(DRAIN_S), "QUEUE_CAPACITY": "4", "MAX_BATCH": "2"}
    with faulty_service(seconds_each=0.02, **settings) as running, ThreadPoolExecutor(16) as pool:
        clients = [pool.submit(client, number) for number in range(16)]
        try:
            wait_for(lambda: len(seen_by(running)) > 20, WAIT_S)
            told_at = time.monotonic()
            status = running.terminate(whole_group)
        finally:
            stopped.set()
        asked = [one for each in clients for one in each.result(WAIT_S)]
    assert status == 0
    drained = [one for one in asked if one.at < told_at + DRAIN_S - ENDING_S]
    assert [one.failure for one in drained if one.failure] == []
    answers = [(one.at, one.outcome) for one in drained if one.outcome]
    assert all(outcome.is_own_caption or outcome.is_refusal for _, outcome in answers)
    assert [outcome for at, outcome in answers if outcome.is_own_caption]
    late = [outcome for at, outcome in answers if at > told_at + BEGUN_S]
    assert late
    assert all(outcome.is_refusal for outcome in late)


def refuses(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=WAIT_S).close()
    except ConnectionRefusedError:
        return True
    return False


def test_a_worker_without_its_master_closes_its_port_before_it_has_answered() -> None:
    """Else whoever connects waits for those whom it still answers, and is reset then."""
    with faulty_service(GRACE_SECONDS="10") as killed, ThreadPoolExecutor(1) as pool:
        asked = pool.submit(upload, killed.port, HANGS)
        wait_for(lambda: bool(seen_by(killed)), WAIT_S)
        killed.process.kill()
        wait_for(lambda: refuses(killed.port), WAIT_S)
        assert not asked.done()
        assert asked.result(WAIT_S).is_refusal


def test_a_stop_answers_even_those_whom_the_model_keeps_waiting() -> None:
    with (
        faulty_service(DRAIN_SECONDS="1", GRACE_SECONDS="8", MAX_BATCH="1") as running,
        ThreadPoolExecutor(4) as pool,
    ):
        asked = [pool.submit(upload, running.port, HANGS)]
        wait_for(lambda: bool(seen_by(running)), WAIT_S)
        asked += [pool.submit(upload, running.port, colour_of(number)) for number in range(2)]
        wait_for(lambda: bool(running.get("/health").json()["queue"]["depth"] == 2), WAIT_S)
        ended = pool.submit(running.terminate)
        wait_for(lambda: refuses(running.port), WAIT_S)
        assert not any(one.done() for one in asked), "the port was open until the end"
        assert all(one.result(WAIT_S).is_refusal for one in asked)
        assert ended.result(WAIT_S) == 0
