"""rudp beside its peers: other transports that a Python program can use, over loopback, doing equal work in turns.

Knows: nothing itself; `python -m bench.peers` and `rudp bench peers` run `command`.

    interface     what an adapter is: a Peer that serves and connects, a Channel that sends and receives
    adapters/     one file for each library, an example of how it is used
    contenders    who takes part, who is missing and why
    bulk, rpc, connections    the three kinds of work, written once over the interface
    process       two fresh processes for a run; errors and hangs are told, never passed on
    summary       medians, least and most
    goals         what rudp is to reach beside the others
    show, plots   the table in the terminal, the picture
"""
