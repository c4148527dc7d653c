"""Gleitzeit: durable workflows as systemd daemons that speak only Socket.IO events.

errors.py, plain.py   the exception tree; dataclasses <-> plain data    imports nothing
record.py             frozen dataclasses that cost little               imports nothing
model/      what the words mean: workflow, task, reference, ledger      imports plain, errors
events/     what crosses the wire: the catalogue and its codec          imports model
machines/   what is decided: one sans-IO machine per role               imports events, model
stores/     where it is kept: one contract, several backends            imports model
providers/  who does the work: one contract, one file per protocol      imports model
runtime/    how it runs: asyncio, Socket.IO, systemd, clocks            imports all of the above
config/     TOML files -> settings; settings -> reference TOML          imports model, bounds, ...
workflow_file/  YAML and JSON text -> a document for the model          imports model, ...
protocol_file/  YAML and TOML text -> a protocol                        imports model, ...
earlier/    files of earlier versions -> files of this one              imports plain, errors
bounds.py   what a setting may be, declared with its field              imports nothing
roles.py    THE table: role -> machine, settings, performer             imports runtime
plan.py     a command line -> roles with their settings                 imports roles, config
conform/    does a foreign provider do what it has to?                  imports runtime
client.py   the Python client          cli/   the gleitzeit command     import runtime
mcp_serve/  workflows and methods as tools of MCP hosts                 imports client, model, ...
"""

__version__ = "5.0.0"
