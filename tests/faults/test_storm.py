"""200 clients against 16 places: each one that stays has its own caption or a refusal in words, and nothing
hangs; the model does no work for those that left.
"""

import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.fakes import Colour, wait_for
from tests.faults.clients import Leaves, Outcome, colour_of, upload
from tests.faults.faulty import faulty_service, seen_by
from tests.service.running import Service

CLIENTS = 200
REQUESTS_EACH = 10
CAPACITY = 16
LEAVING = 0.3
WAIT_AND_LEAVE = 8  # certainly have a place when they leave
SEED = 5_003
LAST: Colour = (9, 9, 9)
WAIT_S = 60.0


def leaves_at(chance: random.Random) -> Leaves | None:
    return chance.choice(list(Leaves)) if chance.random() < LEAVING else None


def health_answers(running: Service, done: threading.Event) -> list[int]:
    statuses = []
    while not done.is_set():
        statuses.append(running.get("/health").status_code)
        time.sleep(0.02)
    return statuses


def assert_idle_and_right(running: Service) -> None:
    """The queue is empty again, and the next picture has its caption."""
    wait_for(lambda: depth_of(running) == 0, WAIT_S)
    assert upload(running.port, LAST).is_own_caption


def depth_of(running: Service) -> int:
    n_waiting: int = running.get("/health").json()["queue"]["depth"]
    return n_waiting


def captions_and_refusals(outcomes: list[Outcome]) -> tuple[list[Outcome], list[Outcome]]:
    """Of those that stayed: each has one of the two."""
    stayed = [outcome for outcome in outcomes if not outcome.left]
    captions = [outcome for outcome in stayed if outcome.is_own_caption]
    refusals = [outcome for outcome in stayed if outcome.is_refusal]
    assert len(captions) + len(refusals) == len(stayed), set(stayed) - {*captions, *refusals}
    return captions, refusals


@pytest.mark.slow
def test_2000_requests_of_200_clients_of_which_a_third_leaves() -> None:
    done = threading.Event()

    def client(number: int) -> list[Outcome]:
        chance = random.Random(SEED + number)
        mine = [colour_of(number * REQUESTS_EACH + i) for i in range(REQUESTS_EACH)]
        return [upload(running.port, colour, leaves_at(chance), chance) for colour in mine]

    with faulty_service(seconds_each=0.004, QUEUE_CAPACITY=str(CAPACITY)) as running:
        with ThreadPoolExecutor(CLIENTS + 1) as pool:
            health = pool.submit(health_answers, running, done)
            try:
                outcomes = [outcome for mine in pool.map(client, range(CLIENTS)) for outcome in mine]
            finally:
                done.set()
        assert_idle_and_right(running)
        seen = seen_by(running)
    assert len(outcomes) == CLIENTS * REQUESTS_EACH
    assert set(health.result()) == {200}
    captions, refusals = captions_and_refusals(outcomes)
    assert len(captions) >= CAPACITY
    assert len(refusals) >= CAPACITY
    assert len(seen) == len(set(seen)), "a picture was captioned twice"
    assert {outcome.colour for outcome in captions} <= set(seen)
    assert not {outcome.colour for outcome in refusals} & set(seen)
    unfinished = {one.colour for one in outcomes if one.left in {Leaves.IN_ITS_HEAD, Leaves.IN_ITS_BODY}}
    assert len(unfinished) >= 200
    assert not unfinished & set(seen)


def test_the_model_is_given_nothing_of_those_that_left() -> None:
    """Exactly: while the model is held by one picture the others come, and then a third of them goes."""
    go_away = threading.Event()
    chances = [random.Random(SEED + number) for number in range(CLIENTS)]
    in_the_queue: list[Leaves | None] = [Leaves.LATER] * WAIT_AND_LEAVE
    plan = [None, *in_the_queue, *(leaves_at(chance) for chance in chances[WAIT_AND_LEAVE + 1 :])]

    def client(number: int) -> Outcome:
        return upload(
            running.port, colour_of(number), plan[number], chances[number], wait=lambda _: go_away.wait(WAIT_S)
        )

    with faulty_service(QUEUE_CAPACITY=str(CAPACITY)) as running, ThreadPoolExecutor(CLIENTS) as pool:
        running.post("/test/hold")
        asked = [pool.submit(client, 0)]
        wait_for(lambda: bool(seen_by(running)), WAIT_S)
        asked += [pool.submit(client, number) for number in range(1, WAIT_AND_LEAVE + 1)]
        wait_for(lambda: depth_of(running) == WAIT_AND_LEAVE, WAIT_S)
        asked += [pool.submit(client, number) for number in range(WAIT_AND_LEAVE + 1, CLIENTS)]
        wait_for(lambda: depth_of(running) == CAPACITY, WAIT_S)
        go_away.set()
        for one, leaves in zip(asked, plan, strict=True):
            if leaves:
                one.result(WAIT_S)
        running.post("/test/go")
        outcomes = [one.result(WAIT_S) for one in asked]
        assert_idle_and_right(running)
        seen = seen_by(running)
    captions, refusals = captions_and_refusals(outcomes)
    assert len(refusals) >= CAPACITY
    assert Counter(seen) == Counter([*(outcome.colour for outcome in captions), LAST])
