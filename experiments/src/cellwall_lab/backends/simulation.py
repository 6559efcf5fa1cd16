"""The simulated world: the core's state machines in a discrete-event loop, as a world server.

Decides nothing about renewal, admission, placement or quorum (the core does); it supplies simulated
time, processor sharing page by page under a CPU limit, and the network between them. Simulated time
passes only inside `wait`, `admin-probe` and `add-capacity`. Same spec and seed, same bytes of history.

Not simulated: the limiter's 100 ms grain, the store's own CPU, transmission time beyond DELAY_S.
"""
