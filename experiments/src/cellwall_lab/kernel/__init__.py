"""The fast kernel: one compiled loop for renewal, admission and quorum at scale.

Decides nothing of its own. It is an admitted second copy of three parts of the core (and of the engine that drives
them), held to them by equal traces on random worlds; all else runs on the core, and is refused here by name.

    WorldSpec, Layout, verbs ─ build ─► KernelInput ─ run ─► KernelResult
"""
