"""What an A/B experiment says: from a folder of Parquet logs to a judgement.

Reading order: ``plan`` (what is decided before the start), ``log_reader`` (the rows), ``units``
(which of them count), ``sequential`` and ``sample_ratio`` and ``guardrails`` (the tests),
``judgement`` (what they say together). Everything here may be looked at at any time: no look costs
anything. Why: docs/decisions/0011-an-always-valid-test.md.
"""
