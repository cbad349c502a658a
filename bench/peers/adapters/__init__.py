"""One file for each library: how it is used, as well as it can be, behind the interface of `bench.peers`."""
