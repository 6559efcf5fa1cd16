"""`cellwall predict`: what would tip a metadata service, before it does.

`sources` makes cells of an experiment, a run or plain numbers; the core's `forecast` decides; `telling` puts it in
words; `command` is the door.
"""
