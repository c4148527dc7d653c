"""``gleitzeit mcp serve``: workflows and methods as tools for hosts of the Model Context Protocol."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gleitzeitd.cli.connection import Session, working
from gleitzeitd.cli.options import Options, SecondsRange, command, connection_options
from gleitzeitd.cli.show import plural
from gleitzeitd.errors import ConfigError

if TYPE_CHECKING:
    from mcp.server.lowlevel import Server

    from gleitzeitd.mcp_serve.allow import AllowList
    from gleitzeitd.mcp_serve.http import Address

ANSWER_SECONDS = 10.0
"""How long the system may take for an answer: a host waits for this, and then for its patience."""


@command("mcp")
@click.argument("action", metavar="serve", type=click.Choice(["serve"]), expose_value=False)
@click.option(
    "--workflows",
    "-w",
    "paths",
    metavar="FILE",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A workflow file, or a folder of them. Can be repeated.",
)
@click.option(
    "--allow",
    "-a",
    "patterns",
    metavar="PATTERN",
    multiple=True,
    help="A method that may be called, or a pattern of methods; workflow:NAME leaves out other workflows. "
    "Can be repeated.",
)
@click.option(
    "--patience",
    metavar="SECONDS",
    type=SecondsRange(min=0, min_open=True),
    default=30.0,
    help="How long a call is waited for before it answers with a handle; 30 by default.",
)
@click.option("--http", metavar="HOST:PORT", help="Serve at this address, and not on standard input.")
@click.option(
    "--http-token-file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="A file with the token that hosts have to bring; without it, only this host is served.",
)
@connection_options
@click.pass_context
def mcp(
    ctx: click.Context,
    paths: tuple[Path, ...],
    patterns: tuple[str, ...],
    patience: float,
    http: str | None,
    http_token_file: Path | None,
) -> None:
    """Serve workflows and methods as tools to a host of the Model Context Protocol.

    The host, a desktop application or an editor, starts this command and speaks with it over standard
    input and output, or connects to http://HOST:PORT/mcp. Each workflow that is given is a tool, its
    inputs are the arguments; of methods only those are tools that --allow names. A call is a durable
    workflow. What takes longer than --patience answers with a handle, which the tools gleitzeit_result,
    gleitzeit_status and gleitzeit_cancel take. A host that cancels a request, or ends, ends no workflow.

    Without a hub everything runs in this process, and goes on when it is started again.

    Exit codes:
      0 the host has ended    2 the command line or a file is wrong, or the package mcp is missing
      3 no hub                4 not authorised    130 interrupted

    Examples:
      gleitzeit mcp serve --workflows ~/workflows
      gleitzeit mcp serve --workflows report.yaml --allow 'echo/*' --allow llm/chat --patience 20
      gleitzeit mcp serve --workflows ~/workflows --http 127.0.0.1:8080
    """
    from gleitzeitd.mcp_serve.allow import AllowList
    from gleitzeitd.providers.mcp_sdk import require_sdk
    from gleitzeitd.runtime.security import read_token

    allow = AllowList.of(patterns)
    if not paths and not allow.methods:
        raise click.UsageError("nothing would be served: give --workflows FILE, or --allow METHOD")
    token = read_token(http_token_file) if http_token_file is not None else None
    if token is not None and http is None:
        raise click.UsageError("--http-token-file is for --http HOST:PORT")
    require_sdk("gleitzeit mcp serve")
    address = _address(http, token) if http is not None else None
    ctx.ensure_object(Options).as_json = False  # standard output is the protocol's
    _serve(paths, allow, patience, address, token)


def _address(http: str, token: str | None) -> Address:
    from gleitzeitd.mcp_serve.http import Address, check_address

    address = Address.of(http)
    check_address(address, token)
    return address


@working
async def _serve(
    session: Session,
    paths: tuple[Path, ...],
    allow: AllowList,
    patience: float,
    address: Address | None,
    token: str | None,
) -> None:
    from gleitzeitd.mcp_serve.calls import OWN, Calls, Settings
    from gleitzeitd.mcp_serve.catalogue import Catalogue
    from gleitzeitd.mcp_serve.server import make_server, serve_stdio

    tell = session.options.tell
    session.client.timeout = ANSWER_SECONDS
    catalogue = Catalogue(paths, allow, session.client, tell, reserved=OWN)
    tools = await catalogue.check()
    if not tools and not allow.methods:
        raise ConfigError("nothing would be served: no workflow is left of those that were given")
    where = "in this process" if session.embedded else f"by way of {', '.join(session.client.hub_urls)}"
    tell(f"serving {plural(len(tools), 'tool')} ({', '.join(tools) or 'none yet'}) {where}")
    calls = Calls(session.client, catalogue, Settings(patience=patience), tell)
    server: Server[Any] = make_server(catalogue, calls)
    if address is None:
        await serve_stdio(server)
        return
    from gleitzeitd.mcp_serve.http import serve_http

    await serve_http(server, address, token, lambda url: tell(f"listening on {url}"))
