"""rudp: a reliable transport over UDP, in pure Python.

The asyncio front end is here: `connect`, `serve`, `Endpoint.bind` with `Connection` and `Stream`, and
`open_connection` and `start_server`, which follow asyncio's own. `Config` has the settings, `Stats` the figures. The
sans-IO core is `rudp.endpoint.Endpoint` (docs/SANS_IO.md), the simulated network `rudp.sim`.
"""

from rudp._version import __version__
from rudp.aio import (
    Connection,
    Endpoint,
    Server,
    Stream,
    WorkerExit,
    Workers,
    WorkerServer,
    WorkerServerStats,
    WorkerStats,
    connect,
    open_connection,
    serve,
    start_server,
)
from rudp.config import Config
from rudp.congestion import CongestionController
from rudp.errors import (
    ConfigurationError,
    ConnectionAborted,
    ConnectionClosed,
    ConnectionLost,
    ConnectionRefused,
    ConnectionReset,
    ConnectTimeout,
    ErrorCode,
    IdleTimeout,
    PeerUnresponsive,
    RudpError,
    SocketError,
    StreamClosed,
    StreamError,
    StreamReset,
    StreamStopped,
    VersionMismatch,
    WorkerError,
)
from rudp.stats import EndpointStats, Stats

__all__ = [
    "Config",
    "ConfigurationError",
    "CongestionController",
    "ConnectTimeout",
    "Connection",
    "ConnectionAborted",
    "ConnectionClosed",
    "ConnectionLost",
    "ConnectionRefused",
    "ConnectionReset",
    "Endpoint",
    "EndpointStats",
    "ErrorCode",
    "IdleTimeout",
    "PeerUnresponsive",
    "RudpError",
    "Server",
    "SocketError",
    "Stats",
    "Stream",
    "StreamClosed",
    "StreamError",
    "StreamReset",
    "StreamStopped",
    "VersionMismatch",
    "WorkerError",
    "WorkerExit",
    "WorkerServer",
    "WorkerServerStats",
    "WorkerStats",
    "Workers",
    "__version__",
    "connect",
    "open_connection",
    "serve",
    "start_server",
]
