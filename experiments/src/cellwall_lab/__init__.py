"""The lab: experiment files, backends, faults, runbooks, reports and the command line."""
