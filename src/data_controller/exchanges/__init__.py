"""A module or package a venue; `venue(name)` imports it when it is first named."""
