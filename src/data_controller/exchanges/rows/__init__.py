"""Packed event rows as a venue: a bus, or tables of rows that some program wrote; import only."""
