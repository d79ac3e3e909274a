"""What the kernel answers a worker: the allow-list, and nothing else; whoever the host is."""

from __future__ import annotations

import platform
import sys
from typing import Any

import pytest

from tests.escapes.attacks import Attack
from tests.escapes.attacks_folder import FOLDER
from tests.escapes.attacks_kernel import KERNEL
from tests.escapes.attacks_reach import EXECUTION
from tests.escapes.attacks_sweep import DEADLY, PROBES, SWEEP_WITH_FILES, SWEEPS

pytestmark = [
    pytest.mark.skipif(
        sys.platform != "linux" or platform.machine() != "x86_64",
        reason="the numbers of the calls are those of Linux on x86-64",
    ),
    pytest.mark.timeout(150),  # the first test waits for all attacks
]

KERNEL_MODE = pytest.mark.parametrize("mode", ["kernel"])
BY_NOBODY = [*KERNEL, *SWEEPS, *EXECUTION]


def named(attack: Attack) -> str:
    return attack.name


@KERNEL_MODE
@pytest.mark.parametrize("attack", SWEEPS, ids=named)
def test_only_the_list_answers(verdicts: Any, attack: Attack, mode: str) -> None:
    """Of all system calls, those that are not on the list are refused, in every thread."""
    verdict = verdicts.of(mode, attack.name)
    assert verdict["told"].startswith("SWEPT nothing"), verdict["told"]


@pytest.mark.parametrize("mode", ["kernel with files"])
@pytest.mark.parametrize("attack", [SWEEP_WITH_FILES], ids=named)
def test_only_the_list_for_files_answers(verdicts: Any, attack: Attack, mode: str) -> None:
    """A worker with a folder gets the calls for files as well, and no others."""
    verdict = verdicts.of(mode, attack.name)
    assert verdict["told"].startswith("SWEPT nothing"), verdict["told"]


@KERNEL_MODE
@pytest.mark.parametrize("attack", DEADLY, ids=named)
def test_another_door_to_the_calls_is_death(verdicts: Any, attack: Attack, mode: str) -> None:
    """A call by a number of another kind ends the worker at once."""
    verdict = verdicts.of(mode, attack.name)
    assert (verdict["status"], verdict["shown"]) == ("sandbox", [])
    assert "SIGSYS" in verdict["told"]


@KERNEL_MODE
@pytest.mark.parametrize(
    "attack",
    [
        DEADLY[0]._replace(name=f"probe {n}", code=DEADLY[0].code.replace("1073741824", f"{n}"))
        for n in PROBES
    ],
    ids=named,
)
def test_the_calls_of_probes_give_nothing(verdicts: Any, attack: Attack, mode: str) -> None:
    """The two calls that some kernels answer before any filter do nothing but harm the caller."""
    verdict = verdicts.of(mode, attack.name)
    assert verdict["status"] == "success" or "SIGILL" in verdict["told"], verdict["told"]
    assert verdict["shown"] in ([], ["stdout"])


@pytest.mark.parametrize("attack_by_nobody", BY_NOBODY, ids=named)
def test_the_walls_are_the_same_for_an_ordinary_user(
    ordinary_verdicts: Any, attack_by_nobody: Attack
) -> None:
    """A host without any right over the machine walls its workers in just as well."""
    verdict = ordinary_verdicts.of("kernel", attack_by_nobody.name)
    assert verdict["shown"] == [], verdict


@pytest.mark.parametrize("folder_attack_by_nobody", [SWEEP_WITH_FILES, *FOLDER], ids=named)
def test_so_are_those_of_the_folder(
    ordinary_verdicts: Any, folder_attack_by_nobody: Attack
) -> None:
    """Its workers get folders, which are as closed."""
    verdict = ordinary_verdicts.of("kernel with files", folder_attack_by_nobody.name)
    assert verdict["shown"] == [], verdict
