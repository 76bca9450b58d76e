"""Turns: one thread at a time, given up while something is waited for, and no lock that anybody could be stuck on."""

from __future__ import annotations

import threading
import time

from strongroom import turns
from strongroom.turns import aside, turn


def together(count, work):
    threads = [threading.Thread(target=work, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads)


def test_one_at_a_time_has_a_turn(monkeypatch):
    """Eight threads whose turns are short never have one together."""
    monkeypatch.setattr(turns, "PATIENCE_SECONDS", 60.0)  # nobody goes past: a busy machine makes a short turn long
    inside, most = [], []

    def work(number):
        for _ in range(50):
            with turn():
                inside.append(number)
                most.append(len(inside))
                inside.remove(number)

    together(8, work)
    assert max(most) == 1


def test_while_one_waits_another_has_the_turn(monkeypatch):
    """Eight threads that each wait aside until all eight do: every one of them had its turn meanwhile."""
    monkeypatch.setattr(turns, "PATIENCE_SECONDS", 60.0)  # nobody goes past who has it
    all_wait = threading.Barrier(8, timeout=20)

    def work(_):
        with turn(), aside():
            all_wait.wait()

    together(8, work)
    assert not all_wait.broken


def test_who_is_slow_keeps_others_waiting_once(monkeypatch):
    """Somebody keeps the turn: who waited long enough goes on, and the next does not wait again."""
    monkeypatch.setattr(turns, "PATIENCE_SECONDS", 0.6)
    done, slow = threading.Event(), threading.Event()

    def keep():
        with turn():
            slow.set()
            done.wait(100)

    thread = threading.Thread(target=keep, daemon=True)
    thread.start()
    assert slow.wait(20)
    began = time.monotonic()
    with turn():
        took = time.monotonic() - began
    assert took >= 0.6
    monkeypatch.setattr(turns, "PATIENCE_SECONDS", 60.0)
    for _ in range(2):
        began = time.monotonic()
        with turn():
            assert time.monotonic() - began < 20
    done.set()
    thread.join()


def test_aside_without_a_turn_is_nothing():
    """Who has none gives none up, and takes none afterwards."""
    with aside():
        pass
    assert turns._TURNS.give_up() is False
    with turn():
        with aside():
            assert turns._TURNS.give_up() is False
        assert turns._TURNS.give_up() is True
