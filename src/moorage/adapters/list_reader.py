"""Reads revocation lists where nobody waits for it: small ones in a thread, large ones in a process of their own.

Reading a million entries takes seconds, most of which no other thread of the process could run. So a large list goes to
a child, and what comes back is packed and costs nothing to take up. The child has limits of its own: on memory, on
processor time, and on how long it may take.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
from contextlib import AsyncExitStack
from tempfile import TemporaryFile
from typing import IO, Final

from moorage.errors import Invalid, Unavailable
from moorage.pki.revocation_lists import RevocationList, parse_revocation_list, unpack_revocation_list

__all__ = ["IN_THREAD_BYTES", "READER_CPU_S", "READER_MEMORY_BYTES", "read_revocation_list"]

# Some thousand entries, a few milliseconds.
IN_THREAD_BYTES: Final = 64 * 1024
_REFUSED: Final = 3
READER_CPU_S: Final = 60
READER_MEMORY_BYTES: Final = 2 * 1024**3
_PATIENCE_S: Final = 300.0
_SHOWN: Final = 300


async def read_revocation_list(data: bytes) -> tuple[RevocationList, bytes]:
    """`certificates.revocation.ReadList`. Raises as `parse_revocation_list` and `pack`, and
    `Unavailable` (`crl.unread`).
    """
    if len(data) <= IN_THREAD_BYTES:
        return await asyncio.to_thread(_read_here, data)
    return await _read_in_child(data)


def _read_here(data: bytes) -> tuple[RevocationList, bytes]:
    found = parse_revocation_list(data)
    return found, found.pack()


async def _read_in_child(data: bytes) -> tuple[RevocationList, bytes]:
    async with AsyncExitStack() as stack:
        # Files, since pipes would be read and written on the loop, in copies of tens of megabytes.
        given, said, complained = await asyncio.to_thread(_files, stack, data)
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-m", __name__, stdin=given, stdout=said, stderr=complained
        )
        try:
            async with asyncio.timeout(_PATIENCE_S):
                status = await child.wait()
        except TimeoutError as error:
            raise Unavailable("crl.unread", f"the list was not read within {_PATIENCE_S:g} s") from error
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()
        return await asyncio.to_thread(_take, status, said, complained)


def _files(stack: AsyncExitStack, data: bytes) -> tuple[IO[bytes], IO[bytes], IO[bytes]]:
    given, said, complained = (stack.enter_context(TemporaryFile()) for _ in range(3))
    given.write(data)
    given.seek(0)
    return given, said, complained


def _take(status: int, said: IO[bytes], complained: IO[bytes]) -> tuple[RevocationList, bytes]:
    """What the child made of it. Raises what it refused it for."""
    said.seek(0)
    if status == 0:
        packed = said.read()
        return unpack_revocation_list(packed), packed
    if status == _REFUSED:
        reason, message, fix = json.loads(said.read())
        raise Invalid(reason, message, fix=fix)
    complained.seek(0)
    last = complained.read(_SHOWN).decode("utf-8", "replace")
    raise Unavailable("crl.unread", f"the process that reads lists ended with {status}: {last}")


def _main() -> int:
    resource.setrlimit(resource.RLIMIT_CPU, (READER_CPU_S, READER_CPU_S))
    resource.setrlimit(resource.RLIMIT_AS, (READER_MEMORY_BYTES, READER_MEMORY_BYTES))
    try:
        sys.stdout.buffer.write(parse_revocation_list(sys.stdin.buffer.read()).pack())
    except Invalid as refusal:
        sys.stdout.buffer.write(json.dumps([refusal.reason, refusal.message, refusal.fix]).encode())
        return _REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(_main())
