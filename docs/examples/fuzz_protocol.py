"""How to fuzz a protocol of one's own under drawn faults: twenty lines, and a failure tells its story packet by packet.

The protocol: a client asks for words, one a line, and a server answers each by its length, one a line. `careless` is a
client as many write it first: it takes what comes at once for the whole answer. On a good path that works; hypothesis
finds a path where it doesn't, and takes one fault after the other away until only those are left that it takes. The
test is for pytest (`pytest docs/examples/fuzz_protocol.py`).
Run it: python docs/examples/fuzz_protocol.py
"""

from __future__ import annotations

import rudp

WORDS = ["x" * size for size in range(70)]


async def serve(connection: rudp.Connection) -> None:
    """The server: answers each line as soon as it is there."""
    stream, rest = connection.main_stream, b""
    while part := await stream.receive():
        *lines, rest = (rest + part).split(b"\n")
        await stream.send(b"".join(b"%d\n" % len(line) for line in lines))
    await stream.send_eof()


async def careful(connection: rudp.Connection) -> list[int]:
    """A client that knows that a stream has no messages: it reads up to the end."""
    stream, answer = connection.main_stream, b""
    await stream.send("".join(f"{word}\n" for word in WORDS).encode())
    await stream.send_eof()
    while part := await stream.receive():
        answer += part
    return [int(line) for line in answer.splitlines()]


async def careless(connection: rudp.Connection) -> list[int]:
    """A client that hopes for everything at once."""
    stream = connection.main_stream
    await stream.send("".join(f"{word}\n" for word in WORDS).encode())
    await stream.send_eof()
    answer = await stream.receive()
    while await stream.receive():
        pass
    return [int(line) for line in answer.splitlines()]


# From here on: the twenty lines.

from hypothesis import Phase, given, settings  # noqa: E402

from rudp.sim import Machine  # noqa: E402
from rudp.testing import World  # noqa: E402
from rudp.testing.strategies import worlds  # noqa: E402

client_under_test = careful


@settings(max_examples=20, deadline=None, derandomize=True, database=None, phases=[Phase.generate, Phase.shrink])
@given(worlds())
def test_every_word_is_answered(world: World) -> None:
    async def main(client: Machine, server: Machine) -> None:
        async with await server.run(rudp.serve(serve, "0.0.0.0", 7)):
            try:
                async with await client.run(rudp.connect("server", 7)) as connection:
                    lengths = await client_under_test(connection)
            except rudp.ConnectionLost:
                return  # the path was too bad for too long: an error is right, a wrong answer isn't
            assert lengths == [len(word) for word in WORDS]

    world.run(main)


if __name__ == "__main__":
    test_every_word_is_answered()
    print("careful: right in 20 worlds")
    client_under_test = careless
    try:
        test_every_word_is_answered()
    except Exception as error:
        print(f"careless: {type(error).__name__}")
        print("\n".join(error.__notes__[:2]))
