"""Deribit, for importing: books whose changes name the one before them."""
