"""What both sandboxes do with what a worker has said, and with what it is to be told. No I/O."""

from __future__ import annotations

from collections.abc import Sequence

from langchain_ptc.sandbox.base import Call, Moment, OnCalls, OnIdle, Program, Result
from langchain_ptc.sandbox.protocol import Conversation, encode_moment, encode_result_pieces


class Handover:
    """Hands on calls and waits to whoever drives an execution, and checks the answers' form.

    Args:
        program: What the worker was told to run.
        on_calls: Takes the calls that it asks for.
        on_idle: Takes the waits of a program that runs in steps.

    Raises:
        ValueError: The program runs in steps, and nobody takes its waits.
    """

    def __init__(self, program: Program, on_calls: OnCalls, on_idle: OnIdle | None) -> None:
        if program.replay is not None and on_idle is None:
            raise ValueError("a program with replay runs in steps: pass on_idle")
        self.conversation = Conversation(program)
        self._stepped = program.replay is not None
        self._on_calls = on_calls
        self._on_idle = on_idle
        self._awaits_event = False

    def tell(self, calls: Sequence[Call]) -> None:
        """Hand on what came of the bytes that the conversation has just received."""
        if calls:
            self._on_calls(calls)
        idle = self.conversation.idle
        if idle is not None and not self._awaits_event and self._on_idle is not None:
            self._awaits_event = True
            self._on_idle(idle.due)

    def encode(self, results: Sequence[Result], at: Moment | None) -> list[str]:
        """Return the text of the messages that hand these answers in; see `Session.resume`.

        Raises:
            ValueError: They are no event of a program that runs in steps, or `at` is given for one
                that does not.
        """
        answers: list[str] = []
        for result in results:
            if answers:
                answers.append(",")
            answers += encode_result_pieces(result)
        if not self._stepped:
            if at is not None:
                raise ValueError("at is for a program with replay: another keeps the real clock")
            return answers
        if at is None or len(results) > 1:
            raise ValueError(
                "a program with replay takes one event at a time: pass at, and one result or none; "
                f"got {len(results)} results, at={at!r}"
            )
        if not self._awaits_event:
            raise ValueError("a program with replay takes one event after each on_idle, not more")
        self._awaits_event = False
        self.conversation.go_on()
        return [encode_moment(at), *([",", *answers] if answers else ())]
