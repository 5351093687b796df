"""A running application in this process, on a tiny shop, with a clock that the test holds."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from serving.app import create_app
from serving.metrics import Metrics
from serving.releases import release_folder
from serving.runtime import Runtime
from serving.settings import ServiceSettings
from tests.tiny_shop import NOW_US, TinyShop, tiny_shop


@dataclass
class Running:
    """The application behind an in-process client; `now_us` is the time that it sees."""

    shop: TinyShop
    settings: ServiceSettings
    now_us: int = NOW_US
    app: Starlette = field(init=False)
    runtime: Runtime = field(init=False)
    _ids: int = 0

    def __post_init__(self) -> None:
        self.metrics = Metrics()
        self.app = create_app(lambda: self.settings, self.open, self.metrics, new_id=self.new_id)

    def new_id(self) -> str:
        self._ids += 1
        return f"{self._ids:032x}"

    def open(self, settings: ServiceSettings) -> Runtime:
        self.runtime = Runtime.open(
            settings,
            resolve=partial(_folder, settings.places.releases),
            clock=lambda: self.now_us,
            new_id=self.new_id,
            metrics=self.metrics,
        )
        return self.runtime

    def run(self, talk: Callable[[httpx.AsyncClient], Awaitable[Any]], *, ready: bool = True) -> Any:
        """Start the application, hold a conversation with it, stop it."""

        async def whole() -> Any:
            async with self.app.router.lifespan_context(self.app):
                transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
                async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
                    if ready:
                        await until_ready(client)
                    return await talk(client)

        return asyncio.run(whole())

    def call(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        """One call."""
        return self.run(lambda client: client.request(method, path, **arguments))


def _folder(releases: Path, name: str) -> Path:
    return release_folder(name, releases)


async def until_ready(client: httpx.AsyncClient) -> None:
    for _ in range(400):
        if (await client.get("/readyz")).status_code == 200:
            return
        await asyncio.sleep(0.02)
    raise AssertionError((await client.get("/readyz")).text)


@pytest.fixture(scope="session")
def laid_shop(tmp_path_factory: pytest.TempPathFactory) -> TinyShop:
    """The shop as first made; tests work on copies."""
    shop = tiny_shop(tmp_path_factory.mktemp("laid"))
    shop.release("first")
    shop.release("second", base=2.0)
    return shop


@pytest.fixture
def shop(laid_shop: TinyShop, tmp_path: Path) -> TinyShop:
    """A copy of the shop that this test may change."""
    import shutil

    from features.workspace import Workspace

    root = tmp_path / "shop"
    never_served = shutil.ignore_patterns("service.db*")
    shutil.copytree(laid_shop.workspace.root, root, ignore=never_served)
    return TinyShop(Workspace(root), laid_shop.pseudonyms)


@pytest.fixture
def running(shop: TinyShop) -> Running:
    """The application, not started yet."""
    return Running(shop, ServiceSettings(shop.workspace.root, release="first", rollout_poll_ms=20, lock_timeout_ms=50))
