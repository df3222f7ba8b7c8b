"""What a call gets that ends in the client, and not with a server's words. No I/O."""

from __future__ import annotations

from clickclean_client._ask import Ask
from clickclean_client._exceptions import ClientError, DeadlineExceeded, InvalidRequest


def out_of_time(
    ask: Ask, earlier: ClientError | None, last: ClientError | None = None
) -> ClientError:
    """What a call that ran out of time gets: its cause may be what an earlier attempt met."""
    if earlier is None or isinstance(earlier, DeadlineExceeded):
        return last or earlier or DeadlineExceeded(ask.facts())
    call = ask.facts(last.code, last.server_message) if last is not None else ask.facts()
    error = DeadlineExceeded(call, f"an earlier attempt failed: {earlier}")
    error.__cause__ = earlier
    return error


def closed_error(ask: Ask) -> InvalidRequest:
    """What a call on a closed client gets."""
    return InvalidRequest(
        ask.facts(),
        "the client is closed",
        hint="Keep the client open as long as calls are made; it serves many callers at once.",
    )
