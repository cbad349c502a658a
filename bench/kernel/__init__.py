"""rudp beside the kernel's TCP over one emulated link: network namespaces, a TUN device each, and who owns both.

Bottom up: `link` (what the link does to packets, no I/O), `namespace` (namespaces and TUN devices), `emulator` (a
process that moves packets between the two devices), `bed` (starts and ends all of that), `probes` (is the emulator what
it says), `contenders` (who sends), `table` (what is measured), `show` (how it looks), `command` (the command line).
"""
