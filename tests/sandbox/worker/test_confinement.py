"""The system call filter, as the kernel gets it."""

from __future__ import annotations

import pytest

from langchain_ptc.sandbox.worker import confinement
from tests.escapes.attacks_sweep import ANSWERING, WITH_FILES


def test_the_list_is_the_one_that_the_filter_has() -> None:
    """A call that is added to the filter must be added to the list here, and so be thought about."""
    own = {**confinement.ALLOWED["x86_64"], **confinement.MMAP_LIKE["x86_64"]}
    assert own == ANSWERING
    assert confinement.FILE_CALLS["x86_64"] == WITH_FILES


def test_both_machines_have_the_same_list() -> None:
    """What x86-64 has and aarch64 has not are calls that aarch64 never had."""
    of = {machine: set(calls) for machine, calls in confinement.ALLOWED.items()}
    assert of["x86_64"] - of["aarch64"] == {"poll"}
    assert of["aarch64"] <= of["x86_64"]


def test_both_machines_have_the_same_list_for_files() -> None:
    """What x86-64 has in addition are the older calls, which aarch64 never had."""
    of = {machine: set(calls) for machine, calls in confinement.FILE_CALLS.items()}
    older = {"stat", "lstat", "access", "rename", "mkdir", "rmdir", "unlink", "chmod"}
    assert of["x86_64"] - of["aarch64"] == older
    assert of["aarch64"] <= of["x86_64"]


@pytest.mark.parametrize("files", [False, True])
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_fits_the_kernel(machine: str, files: bool) -> None:
    """A program of classic BPF is whole instructions, at most 4,096 of them, and ends in a refusal."""
    program = confinement.build_filter(machine, files=files)
    assert len(program) % 8 == 0
    assert len(program) // 8 <= 4096
    assert program[-8:] == confinement.REFUSED_ANSWER
