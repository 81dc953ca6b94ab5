"""Long runs that look for what short tests cannot find; `make torture-2` runs those of issue 2.

A module `issueN_name.py` has `ROUNDS` (how many make the evidence) and `attempt(seed)`, which raises where something is
wrong and returns what it saw: whole numbers are added up over the rounds, lists of numbers are samples whose spread is
printed. A run goes on where the last one stopped. `TORTURE_SECONDS` bounds one call, `TORTURE_JOBS` processes share it.
"""
