"""The asyncio front end: thin objects over the sans-IO core (`rudp.endpoint`), one driver a socket.

    client      connect
    endpoint    serve, Server, Endpoint.bind
    connection  Connection
    stream      Stream
    transport   open_connection, start_server: asyncio's streams
    driver      the socket, the timer, the loop
"""

from rudp.aio.client import connect
from rudp.aio.connection import Connection
from rudp.aio.endpoint import Endpoint, Server, serve
from rudp.aio.stream import Stream
from rudp.aio.transport import open_connection, start_server

__all__ = ["Connection", "Endpoint", "Server", "Stream", "connect", "open_connection", "serve", "start_server"]
