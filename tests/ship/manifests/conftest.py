"""The overlays, rendered."""

from __future__ import annotations

import pytest

from tests.ship.manifests.objects import OVERLAYS, Kustomize, Objects


@pytest.fixture(params=OVERLAYS)
def whole(kustomize: Kustomize, request: pytest.FixtureRequest) -> Objects:
    """Every object of an overlay. A test with this fixture runs once for each overlay."""
    return kustomize(request.param)


@pytest.fixture
def cpu(kustomize: Kustomize) -> Objects:
    return kustomize("overlays/cpu")


@pytest.fixture
def monitored(kustomize: Kustomize) -> Objects:
    return kustomize("overlays/monitoring")


@pytest.fixture
def with_webhooks(kustomize: Kustomize) -> Objects:
    return kustomize("overlays/webhooks")
