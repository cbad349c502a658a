"""Sockets, plain and blocking: one exchange over UDP, one over TCP, and what UDP does when nobody answers.

Server and client share a process, so that the example is one program; the server runs in a thread. Run it:
python docs/examples/sockets.py
"""

from __future__ import annotations

import socket
import threading


def udp() -> None:
    """Datagrams: no connection, each one on its own, with the sender's address."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        server.bind(("127.0.0.1", 0))
        client.settimeout(5.0)  # without it, recvfrom waits for ever when a datagram is lost
        client.sendto(b"hello", server.getsockname())
        data, sender = server.recvfrom(65536)
        server.sendto(data.upper(), sender)
        print("UDP answer:", client.recvfrom(65536)[0])


def udp_nobody() -> None:
    """A socket that is bound and never read: UDP reports nothing, only our own clock ends the wait."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        deaf.bind(("127.0.0.1", 0))
        client.settimeout(0.2)
        client.sendto(b"hello", deaf.getsockname())
        try:
            client.recvfrom(65536)
        except TimeoutError:
            print("UDP without an answer: TimeoutError, after 0.2 s that this program chose")


def answer_one(listener: socket.socket) -> None:
    """Accept one connection, read to its end, answer."""
    connection, _ = listener.accept()
    with connection:
        received = b""
        while data := connection.recv(65536):  # a stream has no messages: read until the end
            received += data
        connection.sendall(received.upper())


def tcp() -> None:
    """A connection: a stream of bytes in each direction, each with an end."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=answer_one, args=(listener,))
        server.start()
        with socket.create_connection(listener.getsockname(), timeout=5.0) as client:
            client.sendall(b"hel")
            client.sendall(b"lo")
            client.shutdown(socket.SHUT_WR)  # half-close: the server sees the end, and can still answer
            print("TCP answer:", client.recv(65536))
        server.join()


udp()
udp_nobody()
tcp()
