"""What the tests of workers elsewhere share."""

from tests.support.certificates import certificates  # noqa: F401
from tests.support.pools import patience  # noqa: F401
