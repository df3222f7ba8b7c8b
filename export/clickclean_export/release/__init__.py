"""Releases: change what servers answer, on all of them or on none, and tell it afterwards."""
