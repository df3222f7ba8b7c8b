"""The lock of a model's folder, which every command holds that changes the model."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from clickclean_export.disk import locked, words
from clickclean_export.errors import RepositoryError
from clickclean_export.release.errors import BusyError
from clickclean_export.repository import Repository

WAIT_S = 5.0
_POLL_S = 0.05


@contextmanager
def alone_with(repository: Repository, model: str, *, wait_s: float = WAIT_S) -> Iterator[None]:
    """Hold a model's lock during the block; waits a little for who holds it for a moment only.

    Raises:
        BusyError: somebody else goes on holding it.
        RepositoryError: the file system refuses.
    """
    deadline = time.monotonic() + wait_s
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(locked(repository.root / model, wait=False))
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise BusyError(model) from None
                time.sleep(_POLL_S)
            except OSError as error:
                raise RepositoryError(repository.root, words(error)) from error
        yield
