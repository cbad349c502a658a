"""asyncio programs on the simulated network, unmodified and in virtual time.

run         as asyncio.run: a program from its start to its end
loop        the event loop whose clock is the network's
machine     a host whose sockets programs open: addresses, tasks
sockets     UDP sockets of a machine, as the front end's drivers use them
datagrams   asyncio's datagram transport on such a socket
names       host names to addresses of machines
tasks       tasks that sets hold in the same order in every run, and what they wait for
"""
