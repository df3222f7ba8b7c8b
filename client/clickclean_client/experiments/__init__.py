"""The client's side of experiments: who is sent where, and what is written down about it."""
