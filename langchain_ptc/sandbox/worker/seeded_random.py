"""The random numbers of a program that runs in steps: all of them come from one seed.

`random`, `secrets`, `uuid` and `statistics` draw what they always draw, from generators that the seed
has filled. What `secrets` gives is then as secret as the seed, which lies where the program's record
lies.
"""

from __future__ import annotations

import base64
import random
import secrets
import statistics
import types
import uuid
from typing import Any

from langchain_ptc.sandbox.allowed_modules import STANDARD_MODULES

_SEED_BITS = 128
_TOKEN_BYTES = 32

DRAWING_NAMES = frozenset({"samples"})
"""Methods of classes that cannot be replaced, and that use random numbers: `NormalDist.samples`."""


class Chance:
    """The random numbers of one program: the same seed gives the same."""

    def __init__(self, seed: int) -> None:
        self._source = random.Random(seed)  # noqa: S311  # it is to be repeated

    def seed(self) -> int:
        """Draw a seed for a generator."""
        return self._source.getrandbits(_SEED_BITS)

    def build_names(self) -> dict[str, dict[str, object]]:
        """Build the names of the standard library that use random numbers."""
        generator, system = _generators(self)
        drawn = generator()
        strong = system()

        def token_bytes(nbytes: int | None = None) -> bytes:
            """Return random bytes."""
            return bytes(strong.randbytes(_TOKEN_BYTES if nbytes is None else nbytes))

        def token_hex(nbytes: int | None = None) -> str:
            """Return random bytes as text in hexadecimal."""
            return token_bytes(nbytes).hex()

        def token_urlsafe(nbytes: int | None = None) -> str:
            """Return random bytes as text for an address."""
            return base64.urlsafe_b64encode(token_bytes(nbytes)).rstrip(b"=").decode()

        def randbelow(exclusive_upper_bound: int) -> int:
            """Return a number from 0 to below the bound."""
            if exclusive_upper_bound <= 0:
                raise ValueError("Upper bound must be positive.")
            return int(strong.randrange(exclusive_upper_bound))

        def uuid4() -> uuid.UUID:
            """Return a random UUID."""
            return uuid.UUID(int=strong.getrandbits(128), version=4)

        return {
            "random": {
                **{n: getattr(drawn, n) for n in STANDARD_MODULES["random"] if hasattr(drawn, n)},
                "Random": generator,
                "SystemRandom": system,
            },
            "secrets": {
                "SystemRandom": system,
                "choice": strong.choice,
                "compare_digest": secrets.compare_digest,
                "randbelow": randbelow,
                "randbits": strong.getrandbits,
                "token_bytes": token_bytes,
                "token_hex": token_hex,
                "token_urlsafe": token_urlsafe,
            },
            "statistics": self._statistics_names(),
            "uuid": {"uuid4": uuid4},
        }

    def _statistics_names(self) -> dict[str, object]:
        real: Any = getattr(statistics, "kde_random", None)
        if real is None:  # before Python 3.13
            return {}

        def kde_random(data: Any, h: float, kernel: str = "normal", *, seed: Any = None) -> Any:
            """Return a function that draws from an estimated distribution."""
            return real(data, h, kernel, seed=self.seed() if seed is None else seed)

        return {"kde_random": kde_random}

    def draw(self, value: object) -> object:
        """Return `value`, or its replacement if it is a method that would use real random numbers."""
        if (
            type(value) is not types.MethodType
            or value.__func__ is not statistics.NormalDist.samples
        ):
            return value

        def samples(n: int, *, seed: Any = None) -> list[float]:
            """Return so many samples of the distribution."""
            drawn: list[float] = value(n, seed=self.seed() if seed is None else seed)
            return drawn

        return samples


def _generators(chance: Chance) -> tuple[type[random.Random], type[random.Random]]:
    """Build `Random` and `SystemRandom` of one program: without a seed, theirs is drawn."""

    class Random(random.Random):
        def seed(self, a: Any = None, version: int = 2) -> None:
            """Seed it again, with `a` or at random."""
            super().seed(chance.seed() if a is None else a, version)

    class SystemRandom(Random):
        def seed(self, *_: Any, **__: Any) -> None:
            """Seed it at random, whatever is given, as the original does."""
            super().seed(None)

        def getstate(self) -> Any:
            """Refuse, as the original does."""
            raise NotImplementedError("System entropy source does not have state.")

        def setstate(self, state: Any) -> None:
            """Refuse, as the original does."""
            raise NotImplementedError("System entropy source does not have state.")

    for made in (Random, SystemRandom):
        made.__module__ = "random"
        made.__qualname__ = made.__name__
    return Random, SystemRandom
