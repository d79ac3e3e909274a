"""An agent with the middleware pauses in one process and goes on in others."""

from pathlib import Path

import pytest

from tests.support import middleware_process
from tests.support.processes import PROCESSES


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_each_answer_in_a_process_of_its_own(mode: str, tmp_path: Path) -> None:
    """Two approvals answered in two further processes: each effect happens once, none is lost."""
    effects = tmp_path / "effects"

    def step(answers: dict[str, object]) -> dict[str, object]:
        ours, theirs = PROCESSES.Pipe(duplex=False)
        arguments = (tmp_path / "db", effects, mode, answers, theirs)
        process = PROCESSES.Process(target=middleware_process.step, args=arguments)
        process.start()
        theirs.close()
        made = ours.recv()
        process.join()
        assert process.exitcode == 0
        return made

    state = step({})
    asked = []
    for answer in (
        {"type": "edit", "edited_action": {"name": "buy", "args": {"item": "aa", "price": 5}}},
        {"type": "reject", "message": "enough"},
    ):
        ((question, value),) = state["waiting"].items()
        asked.append(value["args"])
        state = step({question: answer})
    assert asked == [{"item": "aa", "price": 7}, {"item": "bb", "price": 7}]
    assert state["waiting"] == {}
    assert "rejected the tool call for `buy` with reason: enough" in state["told"]
    assert effects.read_text().splitlines() == ["price aa", "buy aa 5"]
