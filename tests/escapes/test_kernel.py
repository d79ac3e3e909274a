"""Attacks on a sandbox in three modes: the kernel's walls alone, the language alone, both.

`kernel` is the mode that counts: the code is any Python, and nothing but the kernel and the host's
own care holds it. In `language` the worker is an ordinary process; what a process of its own makes
harmless, or only the kernel can refuse, says so in its table.
"""

from __future__ import annotations

import sys
from typing import Any

import pytest

from tests.escapes.attacks import Attack
from tests.escapes.attacks_folder import FOLDER
from tests.escapes.attacks_host import GROWTH_MB, LIMITS, SLACK_SECONDS
from tests.escapes.attacks_kernel import KERNEL
from tests.escapes.attacks_line import LINE
from tests.escapes.attacks_load import LOAD
from tests.escapes.attacks_reach import EXECUTION, FILES, NETWORK, REACH, TAME

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the walls are Linux's"),
    pytest.mark.timeout(150),  # the first test waits for all attacks
]

ATTACKS = [*REACH, *LOAD, *KERNEL, *LINE]
EACH_ATTACK = pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)


@pytest.mark.parametrize(
    "mode", ["kernel", "language", "both", "kernel with files", "both with files", "remote"]
)
@EACH_ATTACK
def test_an_attack_shows_no_proof(verdicts: Any, attack: Attack, mode: str) -> None:
    """No proof shows, time and memory are kept, and the host's next execution works."""
    verdict = verdicts.of(mode, attack.name)
    known = attack.shows.get("kernel" if mode == "remote" else mode)
    if known is not None:
        assert verdict["shown"], f"it is stopped now; strike: {known}"
        return
    assert verdict["shown"] == [], verdict
    assert verdict["seconds"] <= LIMITS.wall_seconds + SLACK_SECONDS
    assert verdict["growth_mb"] <= GROWTH_MB
    assert verdict["calls"] <= LIMITS.max_tool_calls


@pytest.mark.parametrize("mode", ["kernel with files", "both with files", "remote with files"])
@pytest.mark.parametrize("attack", FOLDER, ids=lambda attack: attack.name)
def test_an_attack_by_the_folder_shows_no_proof(verdicts: Any, attack: Attack, mode: str) -> None:
    """The folder leads nowhere, holds no more than it may, and hands back nothing but files."""
    verdict = verdicts.of(mode, attack.name)
    assert verdict["shown"] == [], verdict
    assert verdict["seconds"] <= LIMITS.wall_seconds + SLACK_SECONDS


@pytest.mark.parametrize("mode", ["neither"])
@pytest.mark.parametrize(
    "attack",
    [attack for attack in (*EXECUTION, *FILES, *NETWORK) if attack.name not in TAME],
    ids=lambda attack: attack.name,
)
def test_an_attack_is_one(verdicts: Any, attack: Attack, mode: str) -> None:
    """Without any wall the proof shows: what stops the attack elsewhere is no mistake in it."""
    verdict = verdicts.of(mode, attack.name)
    assert verdict["shown"], verdict


def test_every_attack_has_a_name_of_its_own() -> None:
    """Verdicts are kept by name, so none may hide another."""
    names = [attack.name for attack in [*ATTACKS, *FOLDER]]
    assert len(set(names)) == len(names)


def test_what_the_kernel_alone_does_not_stop_is_known() -> None:
    """Proofs that show with any Python in a walled worker are few, and each has its reason."""
    assert {attack.name for attack in ATTACKS if "kernel" in attack.shows} == {
        "a path of this machine in an error"
    }
