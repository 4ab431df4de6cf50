"""What every unit test leaves behind is closed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit import core_fakes


@pytest.fixture(autouse=True)
def _close_handles() -> Iterator[None]:
    yield
    core_fakes.close_all()
