"""The asyncio front end: thin objects over the sans-IO core (`rudp.endpoint`), one driver a socket.

    client      connect
    serving     serve, start_server
    endpoint    Server, Endpoint.bind
    connection  Connection
    stream      Stream
    transport   open_connection: asyncio's streams
    driver      the socket, the timer, the loop
    workers     WorkerServer: several processes on one port; worker is what runs in one, forwarding what joins them
"""

from rudp.aio.client import connect
from rudp.aio.connection import Connection
from rudp.aio.endpoint import Endpoint, Server
from rudp.aio.serving import serve, start_server
from rudp.aio.stream import Stream
from rudp.aio.transport import open_connection
from rudp.aio.worker_options import WorkerExit, Workers, WorkerServerStats, WorkerStats
from rudp.aio.workers import WorkerServer

__all__ = [
    "Connection",
    "Endpoint",
    "Server",
    "Stream",
    "WorkerExit",
    "WorkerServer",
    "WorkerServerStats",
    "WorkerStats",
    "Workers",
    "connect",
    "open_connection",
    "serve",
    "start_server",
]
