"""The kernel benchmark: ours, peers and the machine's limit, each measured in a process of its own.

`cases`, `methods`, `launch`, `measure` and `table` need the standard library alone: what starts the measurements must
be small (a process inherits its starter's peak memory), and neural-tangents has an environment without torch.
"""
