"""Workflows and methods as tools of the Model Context Protocol: ``gleitzeit mcp serve``.

What a host may call is what its server was told on the command line: the workflow files, and the methods of
an allow list; nothing else has a name there. A call is an ordinary workflow, with metadata that says where
it came from, and it is durable: it goes on when the host loses its patience, cancels its request, or ends.
Patience is the server's: who has waited that long gets the workflow's id, which three tools understand,
``gleitzeit_result``, ``gleitzeit_status`` and ``gleitzeit_cancel``. They know only workflows that came this
way, through a tool that is served here.

    allow.py     what may be called                       tools.py    a workflow or method as a tool
    catalogue.py which tools there are now                calls.py    one call, from arguments to an answer
    answers.py   what a host is told                      server.py   the SDK's server, over stdio
    http.py      the same over HTTP
"""
