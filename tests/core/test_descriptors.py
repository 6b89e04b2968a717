"""Client connections fit under the limit on open files together with those to providers."""

from __future__ import annotations

import pytest

from proxy.core.config import Config
from proxy.core.descriptors import LEAST, MOST, OWN, RESERVE, most_connections


def config(concurrency: int = 512, most: int | None = None) -> Config:
    return Config.model_validate(
        {
            "upstreams": {"mock": {"url": "http://127.0.0.1:1", "max_concurrency": concurrency}},
            "routes": [{"path": "/", "upstream": "mock"}],
            "limits": {"max_connections": most},
        }
    )


@pytest.mark.parametrize("descriptors", [160, 256, 1024, 4096, 65_536])
@pytest.mark.parametrize("concurrency", [1, 100, 512, 5000])
def test_all_of_them_at_once_stay_below_the_limit(descriptors: int, concurrency: int) -> None:
    most = most_connections(config(concurrency), descriptors)
    assert LEAST <= most <= MOST
    towards_providers = min(concurrency, most)
    assert most + towards_providers + 2 * RESERVE + OWN <= descriptors


def test_a_limit_of_ones_own_is_taken_as_it_is() -> None:
    assert most_connections(config(most=7), 256) == 7
    assert most_connections(config(), 16) == LEAST
