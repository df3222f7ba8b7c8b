"""What in a Triton model repository will fail, or surprise, said before a server says it.

Reading order: ``finding`` (rules and findings), ``reading`` (folders and configs as values),
``run`` (which rules look at what). Each other module is a group of rules; ``catalogue`` lists all.
No rule needs a server, and none assumes that Click Clean wrote the repository.
"""
