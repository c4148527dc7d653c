"""A provider of a protocol of its own, for what is measured with two of them."""

from __future__ import annotations

from gleitzeitd.providers.echo import EchoProvider


class Second(EchoProvider):
    """Does what echo does, under another name."""

    protocol_name = "second/v1"

    async def ping(self) -> dict[str, bool]:
        """That somebody is there."""
        return {"pong": True}
