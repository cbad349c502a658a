"""What rudp is tested with, for tests of your own: drawn faults, the story of a run, what must hold of a connection.

    Faults         what one direction of a path does to packets, as one value
    World          a client and a server with drawn faults between them, for asyncio programs
    Story          a run in words, packet by packet
    invariants     `invariants.check(connection)`: what must hold of a connection between any two calls
    strategies     packets, frames, faults and worlds for hypothesis (extra `testing`); imported on its own

docs/TESTING.md shows how. Nothing here but `rudp.testing.strategies` needs hypothesis.
"""

from rudp.testing import invariants
from rudp.testing.faults import Faults
from rudp.testing.story import Story, in_words
from rudp.testing.world import World

__all__ = ["Faults", "Story", "World", "in_words", "invariants"]
