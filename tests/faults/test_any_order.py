"""Anything may happen, in any order: requests, lost answers, kills, stops, and a store that misbehaves. The law holds all the same."""

from __future__ import annotations

import os
import random
import shutil
import socket
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.faults.ledger import BAD, Request, Writer, event, request
from tests.faults.proxy import (
    NOT_FOUND,
    PASS,
    REFUSE,
    RESET_AFTER_COMMIT,
    STALL,
    UNAUTHORIZED,
    busy,
    slow,
)
from tests.faults.rig import PATH, Load, Rig
from tests.influxd import Influxd

EXAMPLES = int(os.environ.get("FAULTS_EXAMPLES", "2"))
STEPS = int(os.environ.get("FAULTS_STEPS", "20"))

FAULTS = (
    PASS,
    PASS,
    REFUSE,
    STALL,
    RESET_AFTER_COMMIT,
    UNAUTHORIZED,
    NOT_FOUND,
    busy(429, 1),
    busy(503),
    slow(0.3),
)
DEADLINE = 30.0
"""Seconds in which it ends when told to."""

runs = precondition(lambda self: self.rig.process.runs)
is_down = precondition(lambda self: not self.rig.process.runs)


class AnyOrder(RuleBasedStateMachine):
    """What clients, operators and bad luck do to a collector."""

    influxd: Influxd

    def __init__(self) -> None:
        super().__init__()
        self._folder = Path(tempfile.mkdtemp(prefix="faults-"))
        self.rig = Rig(self._folder, self.influxd)
        self.rig.__enter__()
        self._acked: list[Request] = []
        self._ids: list[str] = []
        self._delivered = 0

    @runs
    @rule(seed=st.integers(0, 2**32), most=st.sampled_from((1, 5, 200)))
    def send(self, seed: int, most: int) -> None:
        """Fresh and late events, and items that are none."""
        self._post(Writer(random.Random(f"{seed} {time.time()}")).request(most))

    @runs
    @rule(seed=st.integers(0, 2**32))
    def send_again(self, seed: int) -> None:
        """What was acknowledged, once more: all of it is known."""
        if self._acked:
            again = random.Random(seed).choice(self._acked)
            assert self.rig.post(again).body["duplicates"] == again.events

    @runs
    @rule()
    def send_another_body_under_a_known_key(self) -> None:
        """It is refused as a whole."""
        if self._acked:
            known = self._acked[-1]
            assert self.rig.post(replace(known, body=b"[" + known.body + b"]")).status in (400, 409, 422)
            other = request([event("job_scraped", "other", "indeed", 1)], key=known.key)
            assert self.rig.post(other).status == 409

    @runs
    @rule(count=st.integers(1, 5))
    def send_known_events_in_another_request(self, count: int) -> None:
        """Those with an id that was acknowledged are duplicates, the others count."""
        ids = self._ids[:count]
        known = [event("job_scraped", "known", "indeed", 7, event_id=name) for name in ids]
        name = f"id-{time.time_ns()}"
        fresh = event("job_scraped", "known", "indeed", random.randint(1, 10**6), event_id=name)
        sent = request([*known, fresh], bad=BAD[:1])
        answer = self._post(replace(sent, fresh=1, counts=request([fresh]).counts))
        if answer:
            assert (answer["accepted"], answer["duplicates"]) == (1, len(known))
            self._ids.append(name)

    @runs
    @rule(seed=st.integers(0, 2**32))
    def lose_an_answer(self, seed: int) -> None:
        """The client goes before it is told what became of its request."""
        sent = Writer(random.Random(f"{seed} {time.time()}")).request()
        self.rig.ledger.send(sent)
        head = (
            f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            f"Idempotency-Key: {sent.key}\r\nContent-Length: {len(sent.body)}\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", self.rig.process.port), 30) as line:
            line.sendall(head.encode() + sent.body)
            if seed % 2:
                time.sleep(0.01)

    @runs
    @rule(seed=st.integers(0, 2**32), gently=st.booleans())
    def end_under_load(self, seed: int, gently: bool) -> None:
        """``kill -9`` or SIGTERM while clients send."""
        chance = random.Random(f"{seed} {time.time()}")
        with Load(self.rig, lambda _: Writer(random.Random(chance.random())).request, clients=3):
            time.sleep(chance.uniform(0.05, 0.5))
            if gently:
                self.rig.process.terminate()
                assert self.rig.process.wait(DEADLINE) == 0
            else:
                self.rig.process.kill()

    @is_down
    @rule()
    def start(self) -> None:
        """On the same spool."""
        self.rig.process.start()

    @rule(fault=st.sampled_from(FAULTS))
    def let_the_store(self, fault: object) -> None:
        """Misbehave from now on, or behave again."""
        assert fault in FAULTS
        self.rig.proxy.set(next(known for known in FAULTS if known == fault))

    @rule(seconds=st.sampled_from((0.05, 0.4)))
    def wait(self, seconds: float) -> None:
        """Give it time."""
        time.sleep(seconds)

    @runs
    @rule()
    def settle(self) -> None:
        """All comes to rest: the stores hold what was acknowledged, and nothing else."""
        self.rig.proxy.set(PASS)
        self.rig.must_be_exact()

    @invariant()
    def every_accepted_event_is_somewhere(self) -> None:
        """At any instant, and what was delivered stays so."""
        if not self.rig.process.runs:
            return
        now = self.rig.process.totals()
        assert now["accepted"] == now["delivered"] + now["spooled"] + now["dead_lettered"]
        assert now["accepted"] >= self.rig.ledger.events
        assert now["dead_lettered"] == 0
        assert now["delivered"] >= self._delivered
        self._delivered = now["delivered"]

    def teardown(self) -> None:
        """In the end, too."""
        try:
            self.rig.proxy.set(PASS)
            if not self.rig.process.runs:
                self.rig.process.start()
            self.rig.must_be_exact()
        finally:
            self.rig.process.kill()
            self.rig.__exit__(None, None, None)
            shutil.rmtree(self._folder, ignore_errors=True)

    def _post(self, sent: Request) -> dict[str, int] | None:
        answer = self.rig.post(sent)
        assert answer.status == 202
        self._acked.append(sent)
        return answer.body


def test_whatever_happens_in_any_order_what_was_acknowledged_counts_once(influxd: Influxd) -> None:
    class OnThis(AnyOrder):
        pass

    OnThis.influxd = influxd
    run_state_machine_as_test(
        OnThis,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            # A failing run is told step by step; smaller ones are not looked for, since each takes minutes.
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
