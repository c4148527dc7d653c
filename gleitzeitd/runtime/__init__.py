"""How it runs: asyncio, Socket.IO, aiohttp, clocks, timers, systemd, journal, health, security."""
