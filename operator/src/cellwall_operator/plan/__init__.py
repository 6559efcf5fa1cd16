"""The operator's decisions: from what is observed of one metadata service to what is to be done about it.

`plan.whole.plan` is the way in. Invariants, whatever was interrupted before: versions of the map only rise; a paused
cell's door is never open, and a closed one opens only for servers that are paced; a cell's `spec.nodes` is written at
its creation only; and where all is as asked for, a plan asks for nothing.
"""
