"""Real hubs and components that speak TLS: who is refused is told why, on both ends, and nobody else is cut."""

from __future__ import annotations

import asyncio
import logging
import shutil
import signal
import socket
import ssl
import warnings
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic

import aiohttp
import pytest

from gleitzeitd.client import Client
from gleitzeitd.errors import GleitzeitError, NotPermitted, TlsFailed
from gleitzeitd.machines.hub_settings import Settings
from gleitzeitd.runtime.embedded import Embedded
from gleitzeitd.runtime.gate import Gate
from gleitzeitd.runtime.hub import HubServer
from gleitzeitd.runtime.hub_tls import credentials_of
from gleitzeitd.runtime.security import SecuritySettings
from gleitzeitd.runtime.tls import Trust
from tests.certificates import Authority, Pair
from tests.daemons import Daemons

TOKEN = "the-token"
HERE = "127.0.0.1"


@pytest.fixture
def ours(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ours")


@pytest.fixture
def others(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "others")


def security(pair: Pair | None, ca: Path | None) -> SecuritySettings:
    return SecuritySettings(
        certificate_file=str(pair.certificate) if pair else "",
        key_file=str(pair.key) if pair else "",
        ca_file=str(ca or ""),
    )


@asynccontextmanager
async def hub(
    authority: Authority, pair: Pair | None = None, *, asks: str = "off", tls: bool = True
) -> AsyncIterator[HubServer]:
    settings = Settings(port=0, client_certificates=asks)  # type: ignore[arg-type]
    wanted = security(pair or authority.certificate("localhost", HERE), authority.file)
    credentials = credentials_of(settings, wanted, {}) if tls else None
    server = HubServer(settings, gate=Gate.by_shared_token(TOKEN), credentials=credentials)
    await server.start()
    try:
        yield server
    finally:
        await server.stop("the test ends")


def client(server: HubServer, ca: Path | None, pair: Pair | None = None, *, scheme: str = "https") -> Client:
    url = f"{scheme}://{HERE}:{server.port}"
    return Client(url, TOKEN, "probe", connect_timeout=5.0, trust=Trust(security(pair, ca), {}))


async def why(one: Client) -> str:
    """Why there is no connection; that takes no retries."""
    begun = monotonic()
    with pytest.raises(TlsFailed) as caught:
        async with one:
            pass
    assert monotonic() - begun < 3.0
    return str(caught.value)


def said(caplog: pytest.LogCaptureFixture) -> str:
    """Of the hub, about those whom it has refused; each with its address."""
    records = [each.__dict__ for each in caplog.records if each.message == "a TLS connection was refused"]
    assert all(each["address"] == HERE for each in records)
    return "; ".join(str(each["reason"]) for each in records)


# --- the hub's certificate -----------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["https", "wss"])
async def test_who_knows_the_hubs_authority_is_connected(ours: Authority, scheme: str) -> None:
    async with hub(ours) as server, client(server, ours.file, scheme=scheme) as one:
        assert len(await one.components()) == 2


async def test_a_hub_of_another_authority_is_refused(
    ours: Authority, others: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    async with hub(ours) as server:
        assert f"is not of the CA in {others.file}" in await why(client(server, others.file))
        assert "a CA that this host trusts" in await why(client(server, None))


async def test_a_hub_under_another_name_is_refused(ours: Authority) -> None:
    async with hub(ours, ours.certificate("elsewhere")) as server:
        assert f"the certificate of {HERE} is for another name" in await why(client(server, ours.file))


async def test_a_hub_whose_certificate_has_expired_is_refused(ours: Authority) -> None:
    async with hub(ours, ours.certificate("localhost", HERE, days_ago=5)) as server:
        assert "has expired" in await why(client(server, ours.file))


async def test_a_hub_whose_certificate_is_not_valid_yet_is_refused(ours: Authority) -> None:
    async with hub(ours, ours.certificate("localhost", HERE, days_ago=-1.5)) as server:
        assert "is not valid yet" in await why(client(server, ours.file))


async def test_plain_http_to_tls_and_tls_to_plain_http_are_told_apart(
    ours: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        async with hub(ours) as server:
            assert "use https:// in the URL" in await why(client(server, None, scheme="http"))
    assert "it speaks plain HTTP" in said(caplog)
    async with hub(ours, tls=False) as server:
        assert "use http:// in the URL" in await why(client(server, ours.file))


async def test_of_two_hubs_the_one_with_a_good_certificate_is_used(ours: Authority) -> None:
    async with hub(ours) as good, hub(ours, ours.certificate("elsewhere", into="bad")) as bad:
        urls = [f"https://{HERE}:{bad.port}", f"https://{HERE}:{good.port}"]
        trust = Trust(security(None, ours.file), {})
        async with Client(urls, TOKEN, "probe", connect_timeout=5.0, trust=trust) as one:
            assert await one.components()


async def test_tls_before_1_2_is_refused(ours: Authority, caplog: pytest.LogCaptureFixture) -> None:
    def speak(port: int) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(ours.file)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = ssl.TLSVersion.TLSv1_1
            context.set_ciphers("ALL:@SECLEVEL=0")
        with (
            socket.create_connection((HERE, port)) as plain,
            context.wrap_socket(plain, server_hostname=HERE),
        ):
            raise AssertionError("TLS 1.1 was taken")

    with caplog.at_level(logging.WARNING):
        async with hub(ours) as server:
            with pytest.raises(ssl.SSLError):
                await asyncio.to_thread(speak, server.port)
    assert "no TLS of 1.2 or later" in said(caplog)


async def test_the_authority_is_shown_to_whoever_joins_and_figures_are_not(ours: Authority) -> None:
    async with hub(ours) as server, aiohttp.ClientSession() as session:
        async with session.get(f"https://{HERE}:{server.port}/ca.pem", ssl=False) as page:
            assert await page.read() == ours.file.read_bytes()


# --- certificates of components --------------------------------------------------------------------


@pytest.mark.parametrize("asks", ["optional", "required"])
async def test_a_component_with_a_certificate_for_its_host_or_its_id_is_let_in(
    ours: Authority, asks: str
) -> None:
    host = ours.certificate(socket.gethostname())
    name = ours.certificate("x", hosts=[], components=["probe-*"])
    async with hub(ours, asks=asks) as server:
        for pair in (host, name):
            async with client(server, ours.file, pair) as one:
                assert await one.components()


async def test_a_certificate_that_is_for_somebody_else_is_refused_with_both_names(ours: Authority) -> None:
    pair = ours.certificate("another-host")
    async with hub(ours, asks="optional") as server:
        with pytest.raises(NotPermitted) as caught:
            async with client(server, ours.file, pair):
                pass
    text = str(caught.value)
    assert "the certificate is for another-host" in text
    assert "registers as probe-" in text
    assert socket.gethostname() in text


async def test_without_a_certificate_it_depends_on_whether_one_is_required(
    ours: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    async with hub(ours, asks="optional") as server, client(server, ours.file) as one:
        assert await one.components()
    with caplog.at_level(logging.WARNING):
        async with hub(ours, asks="required") as server:
            assert "wants a certificate, and we have none" in await why(client(server, ours.file))
    assert "it shows no certificate" in said(caplog)


async def test_a_certificate_of_another_authority_is_refused(
    ours: Authority, others: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    pair = others.certificate(socket.gethostname())
    with caplog.at_level(logging.WARNING):
        async with hub(ours, asks="optional") as server:
            text = await why(client(server, ours.file, pair))
    assert f"does not know the CA of our certificate {pair.certificate}" in text
    assert "its certificate is not of the CA" in said(caplog)


async def test_a_certificate_that_has_expired_is_refused(
    ours: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    pair = ours.certificate(socket.gethostname(), days_ago=5)
    with caplog.at_level(logging.WARNING):
        async with hub(ours, asks="required") as server:
            text = await why(client(server, ours.file, pair))
    assert "which has expired" in text
    assert "its certificate has expired" in said(caplog)


async def test_who_does_not_finish_a_handshake_keeps_nobody_else_out(ours: Authority) -> None:
    async with hub(ours) as server:
        assert server.settings.max_unregistered < 300
        silent = [await asyncio.open_connection(HERE, server.port) for _ in range(300)]
        begun = monotonic()
        async with client(server, ours.file) as one:
            assert await one.components()
        assert monotonic() - begun < 2.0
        for _, writer in silent:
            writer.close()


# --- daemons -----------------------------------------------------------------------------------------


class TlsDaemons(Daemons):
    """All roles, which speak TLS with certificates on both ends."""

    def __init__(self, directory: Path, authority: Authority) -> None:
        self._authority = authority
        self.hub_pair = authority.certificate("localhost", HERE, into="hub")
        self.own_pair = authority.certificate(socket.gethostname(), into="own")
        super().__init__(
            directory,
            environment={"GLEITZEIT_SECURITY_CA_FILE": str(authority.file)},
            environment_of=self._of,
        )

    def _of(self, name: str) -> Mapping[str, str]:
        pair = self.hub_pair if name == "hub" else self.own_pair
        return {
            "GLEITZEIT_SECURITY_CERTIFICATE_FILE": str(pair.certificate),
            "GLEITZEIT_SECURITY_KEY_FILE": str(pair.key),
            **({"GLEITZEIT_HUB_CLIENT_CERTIFICATES": "required"} if name == "hub" else {}),
        }

    @property
    def hub_urls(self) -> list[str]:
        return [f"https://{HERE}:{port}" for port in self.ports.values()]

    def client(self) -> Client:
        trust = Trust(security(self.own_pair, self._authority.file), {})
        return Client(self.hub_urls, self.token, "client", trust=trust)

    def reload(self, name: str) -> None:
        self.processes[name].send_signal(signal.SIGHUP)


async def test_a_reload_changes_certificates_under_a_running_workflow(
    tmp_path: Path, ours: Authority
) -> None:
    waiting = {"name": "w", "tasks": [{"id": "a", "method": "echo/wait", "parameters": {"seconds": 1.5}}]}
    async with TlsDaemons(tmp_path, ours) as daemons, daemons.client() as one:
        running = asyncio.create_task(one.run(waiting))
        before = await connected(one)
        expired = ours.certificate("localhost", HERE, days_ago=5, into="expired")
        good = {file: file.read_bytes() for file in (daemons.hub_pair.certificate, daemons.hub_pair.key)}
        shutil.copy(expired.certificate, daemons.hub_pair.certificate)
        shutil.copy(expired.key, daemons.hub_pair.key)
        daemons.reload("hub")
        await _until(lambda: _refused(daemons, "has expired"))
        for file, content in good.items():
            file.write_bytes(content)
        daemons.reload("hub")
        await _until(lambda: _refused(daemons, ""))
        assert (await running).status == "completed"
        after = await connected(one)
        assert before.keys() <= after.keys()
        assert [name for name, seconds in before.items() if after[name] < seconds] == []


async def connected(one: Client) -> dict[str, float]:
    """For how long each component has been."""
    return {each.component_id: each.connected_seconds for each in await one.components()}


async def _refused(daemons: TlsDaemons, wanted: str) -> bool:
    """Whether a new connection fails for this reason; for none, whether it comes about."""
    try:
        async with daemons.client():
            return not wanted
    except GleitzeitError as problem:
        return bool(wanted) and wanted in str(problem)


async def _until(condition: object) -> None:
    assert callable(condition)
    async with asyncio.timeout(10):
        while not await condition():
            await asyncio.sleep(0.05)


async def test_all_in_one_process_speaks_tls_to_others_and_not_to_itself(
    tmp_path: Path, ours: Authority
) -> None:
    settings = Settings(port=0, client_certificates="required")
    wanted = security(ours.certificate("localhost", HERE), ours.file)
    system = Embedded(
        database=tmp_path / "x.db",
        hub=settings,
        gate=Gate.by_shared_token(TOKEN),
        credentials=credentials_of(settings, wanted, {}),
    )
    async with system:
        port = system.hub_port
        trust = Trust(security(ours.certificate(socket.gethostname()), ours.file), {})
        async with Client(f"https://{HERE}:{port}", TOKEN, "probe", trust=trust) as one:
            done = await one.run({"name": "w", "tasks": [{"id": "a", "method": "echo/ping"}]})
        assert done.status == "completed"
        assert "use https://" in await why(Client(f"http://{HERE}:{port}", TOKEN, "probe"))
