"""A protocol in a file, YAML, TOML or JSON; for providers of one's own, and for the command line."""

from gleitzeitd.protocol_file.loading import ProtocolFile, declared, load, parse

__all__ = ["ProtocolFile", "declared", "load", "parse"]
