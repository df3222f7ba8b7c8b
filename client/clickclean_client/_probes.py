"""How a blocked endpoint is asked whether it is well again. No I/O."""

from __future__ import annotations

from clickclean_client._ask import Ask
from clickclean_client._effects import Attempt, Failure, Start
from clickclean_client._errors import rule_of
from clickclean_client._exceptions import AccessRefused, ProtocolError
from clickclean_client._pool import PROBE_TIMEOUT_S, SERVER, Key, Peer, Pool
from clickclean_client._rpcs import RPCS
from clickclean_client.protocol import service_pb2


def probe(pool: Pool, peer: Peer, key: Key, ask: Ask) -> Start:
    """Ask a blocked peer how it is, beside a call and with its headers; the pool is told."""
    if key == SERVER:
        rpc, request = RPCS["ServerLive"], service_pb2.ServerLiveRequest()
    else:
        rpc = RPCS["ModelReady"]
        request = service_pb2.ModelReadyRequest(name=key[0], version=key[1])

    def done(reply: bytes | Failure) -> None:
        pool.probed(peer, key, good=_is_good(reply))

    def _is_good(reply: bytes | Failure) -> bool:
        if isinstance(reply, Failure):
            # A server that does not tell, or only others, is judged by its trial.
            return reply.code is not None and rule_of(reply.code, reply.text).kind in {
                AccessRefused,
                ProtocolError,
            }
        try:
            response = rpc.read(reply, ask.facts())
        except ProtocolError:
            return False
        return bool(response.live if key == SERVER else response.ready)

    data = request.SerializeToString()
    return Start(Attempt(peer, rpc.path, data, PROBE_TIMEOUT_S, ask.headers, "none"), done)
