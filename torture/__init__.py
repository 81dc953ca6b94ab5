"""Long runs that look for what short tests cannot find; `make torture-2` runs those of issue 2.

A module `issueN_name.py` has `ROUNDS` (how many make the evidence) and `attempt(seed) -> dict[str, int]`, which raises
where something is wrong; what it returns is added up. A run goes on where the last one stopped.
"""
